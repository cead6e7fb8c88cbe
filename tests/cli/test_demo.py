"""The demo night from the outside: a bare environment, one JSON object, a lab that can be read and rebuilt."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nightlab.audit.run import audit
from nightlab.lab import Lab
from nightlab.testing.copies import copied
from nightlab.testing.corruptions import CORRUPTIONS
from nightlab.testing.harmless import HARMLESS

pytestmark = [pytest.mark.real, pytest.mark.slow(5)]


def nightlab(folder: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call nightlab with nothing in the environment but a path, a new home and a closed stdin."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nightlab", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without anything in it: git knows nobody here."""
    return tmp_path_factory.mktemp("empty-home")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, home: Path) -> dict[str, Any]:
    """The JSON object of one demo night."""
    done = nightlab(tmp_path_factory.mktemp("demo"), home, "demo", "--json", "--seed", "11")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert "port_in_use" in done.stderr, "the first staged trouble"
    assert "correction" in done.stderr, "the second"
    assert "\x1b" not in done.stderr
    return told


def test_every_cell_is_answered_and_judged(demo: dict[str, Any]) -> None:
    assert (demo["samples"], demo["judgments"], demo["planned"]) == (189, 189, 189)
    assert demo["usd"] == 0.0
    assert demo["questions"] >= 1
    assert demo["commits"] >= 2
    assert {"id", "value", "verdict"} <= set(demo["claims"][0])


def test_it_leaves_figures_a_report_and_nothing_running(demo: dict[str, Any], home: Path) -> None:
    root = Path(demo["lab"])
    folder = root / "experiments" / demo["experiment"]
    for kind in ("png", "pdf", "csv"):
        assert list((folder / "figs").glob(f"*.{kind}"))
    assert (folder / "report.md").is_file()
    assert json.loads(nightlab(root, home, "servers", "--json").stdout) == []
    diary = (root / "state" / "research_diary.md").read_text("utf-8")
    assert f"- Audited {demo['experiment']}: nothing found." in diary
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_brief_and_inbox_afterwards(demo: dict[str, Any], home: Path) -> None:
    root = Path(demo["lab"])
    brief = nightlab(root, home, "brief").stdout
    assert len(brief.splitlines()) <= 25
    assert max(map(len, brief.splitlines())) <= 60
    assert "189/189" in brief
    written = (root / "state" / "brief.md").read_text("utf-8")
    assert "finished" in written
    questions = json.loads(nightlab(root, home, "inbox", "--json").stdout)
    assert len(questions) == demo["questions"]
    assert all(question["went_on_with"] for question in questions)


def test_everything_can_be_rebuilt(demo: dict[str, Any], home: Path) -> None:
    done = nightlab(Path(demo["lab"]), home, "reproduce", "1")
    assert "everything is as it was" in done.stdout, done.stderr


def test_reply_needs_no_identity_of_the_person(demo: dict[str, Any], home: Path) -> None:
    root = Path(demo["lab"])
    assert nightlab(root, home, "reply", "q1", "yes").returncode == 0
    assert Lab.open(root).diary.read_text("utf-8").count("> **you**") == 1


def test_run_again_has_nothing_left_to_do(demo: dict[str, Any], home: Path) -> None:
    root = Path(demo["lab"])
    done = nightlab(root, home, "run", "--hours", "0.2")
    assert done.returncode in (0, 3), done.stderr
    rows = (root / "experiments" / demo["experiment"] / "samples.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == 189


def test_an_audit_is_silent_at_it(demo: dict[str, Any], home: Path) -> None:
    done = nightlab(Path(demo["lab"]), home, "audit", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["findings"]) == (0, []), told
    assert told["kind"] == "lab"
    assert told["seen"]["samples.jsonl"] == 189
    assert told["cannot_see"]


def test_lies_about_it_are_found_and_harmless_changes_are_not_lies(demo: dict[str, Any], tmp_path: Path) -> None:
    """A sample of bench/truth.py: every other class of lie once, without drawing."""
    lab, missed = Path(demo["lab"]), []
    for name, lie in list(CORRUPTIONS.items())[::2]:
        copy = copied(lab, tmp_path / "copy", demo["experiment"])
        what = lie(copy, Random(f"suite:{name}"))
        report = audit(copy.root, pictures=False)
        missed += [f"{name}: {what}"] if report.sound else []
        assert all(found.file and found.what for found in report.findings)
    assert missed == []
    for name, change in list(HARMLESS.items())[1:4]:
        copy = copied(lab, tmp_path / "copy", demo["experiment"])
        change(copy, Random(f"suite:{name}"))
        assert audit(copy.root, pictures=False).findings == (), name

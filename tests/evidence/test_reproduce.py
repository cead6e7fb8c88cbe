"""An experiment can be made again from its rows, byte for byte, by the script in its folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nightlab.errors import StorageError
from nightlab.evidence import rebuild
from nightlab.evidence.analyze import analyze
from nightlab.evidence.context import read_context
from nightlab.evidence.report import compile_report
from nightlab.files import JsonLines

from .conftest import SERVERS, Make, toy

Servers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with its analysis and its report; read by tests, never changed."""
    folder = toy(tmp_path_factory.mktemp("finished") / "exp_001_toy").folder
    events = [{"kind": "degradation", "what": "one judge slept", "t": "2026-11-23T02:14:07.123Z"}]
    compile_report(folder, analyze(folder, servers=SERVERS, events=events, cost={"usd": 0.0}, resamples=400))
    return folder


@pytest.fixture
def finished(template: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment."""
    return shutil.copytree(template, tmp_path / template.name)


def generated(folder: Path) -> dict[str, bytes]:
    names = [*folder.glob("tables/*"), *folder.glob("figs/*"), folder / "claims.yaml", folder / "report.md"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.mark.slow
def test_a_rebuild_is_byte_identical(finished: Path) -> None:
    before = generated(finished)
    assert len(before) == 5 + 9 + 2
    assert rebuild(finished) == []
    assert generated(finished) == before


@pytest.mark.slow
def test_a_rebuild_names_what_changed_and_makes_what_is_gone(finished: Path) -> None:
    folder, before = finished, generated(finished)
    (folder / "tables" / "means.csv").unlink()
    (folder / "claims.yaml").write_text("claims: [typed by hand]\n", "utf-8")
    assert {path.name for path in rebuild(folder)} == {"means.csv", "claims.yaml"}
    assert generated(folder) == before
    rows = [json.loads(line) for line in (folder / "judgments.jsonl").read_text("utf-8").splitlines()]
    rows[9]["scores"]["sarcasm"] += 1
    (folder / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert "report.md" in {path.name for path in rebuild(folder)}


@pytest.mark.slow
def test_the_script_runs_by_itself(finished: Path) -> None:
    folder, before = finished, generated(finished)
    for path in folder.glob("figs/*"):
        path.unlink()
    done = subprocess.run([sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert "changed: fig1_layers.png" in done.stdout
    assert generated(folder) == before
    assert 'dependencies = ["nightlab==' in (folder / "reproduce.py").read_text("utf-8")


def test_the_snapshot_keeps_what_concerns_the_experiment(template: Path) -> None:
    context = read_context(template)
    assert context.servers is not None
    assert [server["id"] for server in context.servers] == ["srv-llama", "srv-gemma", "srv-qwen"]
    assert [event["what"] for event in context.told("degradation")] == ["one judge slept"]
    assert context.cost == {"usd": 0.0}


def test_a_damaged_snapshot_is_named(finished: Path) -> None:
    (finished / "evidence.json").write_text("{", "utf-8")
    with pytest.raises(StorageError, match="snapshot"):
        rebuild(finished)


def test_an_experiment_that_was_never_analysed_can_be_rebuilt_without_claims(make: Make) -> None:
    folder = make().folder
    assert {path.name for path in rebuild(folder)} >= {"report.md", "claims.yaml", "fig1_layers.pdf"}
    assert (folder / "claims.yaml").read_text("utf-8") == "claims: []\n"


def test_the_analysis_has_a_short_json_form(make: Make, servers: Servers) -> None:
    document = analyze(make().folder, servers=servers, resamples=400).document()
    assert json.loads(json.dumps(document)) == document
    assert (document["planned"], document["answered"], document["judged"]) == (189, 189, 189)
    assert document["verdicts"]["H2"] == "contradicted"
    assert document["peaks"]["gemma"]["sarcasm"] == "layers_40_60"
    assert document["claims"][0]["value"].startswith("In `llama`")


def test_a_torn_last_row_is_a_missing_answer(make: Make, servers: Servers) -> None:
    made = make()
    made.samples, made.judgments = made.samples[:-1], made.judgments[:-1]
    made.write()
    with (made.folder / "samples.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"key": "torn')
    assert analyze(made.folder, servers=servers, resamples=200).table.reasons("missing") == {"never asked": 1}
    assert len(list(JsonLines(made.folder / "samples.jsonl").read())) == 188


@pytest.mark.slow
def test_analysis_and_report_take_less_than_four_seconds_of_cpu(make: Make, servers: Servers) -> None:
    folder = make().folder
    code = (
        "import json,sys,pathlib\n"
        "from nightlab.evidence.analyze import analyze\n"
        "from nightlab.evidence.report import compile_report\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "compile_report(folder, analyze(folder, servers=json.loads(sys.argv[2])))\n"
        "import time; print(time.process_time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), json.dumps(servers)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 4.0

"""`nightlab report` with its views, and an experiment asked once more."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nightlab.audit.run import audit
from nightlab.budget import Budget, Limits
from nightlab.cli.resample import compared
from nightlab.events import EventLog
from nightlab.lab import Lab
from tests.cli.conftest import Call
from tests.evidence.conftest import Make, make, servers  # noqa: F401 - fixtures


@pytest.fixture
def experiment(lab: Lab, make: Make) -> Path:  # noqa: F811
    """An experiment of the lab that was answered and judged."""
    made = make("exp_007_toy", prompts=3)
    return shutil.copytree(made.folder, lab.experiments / made.folder.name, dirs_exist_ok=True)


def test_a_page_is_made_beside_the_report(call: Call, experiment: Path) -> None:
    done = call("report", "7", "--html")
    assert done.exit_code == 0, done.output
    assert "Page: experiments/exp_007_toy/report.html" in done.output
    assert (experiment / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_a_report_by_hand_tells_what_the_night_told_and_leaves_no_older_page(
    call: Call, experiment: Path, lab: Lab
) -> None:
    assert call("report", "7", "--html").exit_code == 0
    assert "the night's ledger was not given" in (experiment / "report.md").read_text("utf-8")
    events = EventLog(lab.night("20261123-010203"))
    events.emit("analysis", experiment=experiment.name)
    events.close()
    budget = Budget(events.path.parent / "ledger.jsonl", Limits())
    budget.reserve("a", usd=0.25, who="judge").commit(usd=0.25)
    (experiment / "analysis.ipynb").write_text("{}")
    os.utime(experiment / "analysis.ipynb", (1, 1))
    done = call("report", "7")
    assert "- usd: 0.25" in (experiment / "report.md").read_text("utf-8")
    assert "usd: 0.25" in (experiment / "report.html").read_text("utf-8")
    assert "Older than this report: experiments/exp_007_toy/analysis.ipynb" in done.output
    assert "page" not in {found.check for found in audit(experiment, pictures=False).findings}
    (experiment / "report.html").write_text("<!doctype html>better", "utf-8")
    assert "page" in {found.check for found in audit(experiment, pictures=False).findings}


def test_a_new_lab_without_experiments_is_audited_as_a_lab(call: Call, lab: Lab) -> None:
    shutil.rmtree(lab.experiments, ignore_errors=True)
    lab.state.mkdir(exist_ok=True)
    (lab.root / "agents").mkdir(exist_ok=True)
    (lab.root / "agents" / "orchestrator.md").write_text("Write `experiments/`.\n", "utf-8")  # no report about results
    done = call("audit", str(lab.root))
    assert done.exit_code == 0, done.output
    assert "lab: 0 errors" in done.output


def test_progress_of_a_plan_that_cannot_be_read_is_an_error(call: Call, lab: Lab) -> None:
    folder = lab.experiments / "exp_008_empty"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("", "utf-8")
    done = call("progress", "8")
    assert done.exit_code == 2
    assert "a plan must be a mapping" in done.output


def test_what_is_not_there_is_said_and_the_report_stands(
    call: Call, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = call("report", "7", "--pdf")
    assert done.exit_code == 4
    assert "no Chromium here to print with" in done.output
    assert (experiment / "report.md").is_file()
    assert (experiment / "report.html").is_file()


def test_two_askings_of_one_plan_are_compared(make: Make, servers: list[dict[str, Any]]) -> None:  # noqa: F811
    first, second = make("exp_001_toy"), make("exp_002_toy", seed=2)
    second.samples[0]["text"] = "Another answer."
    lines = compared(first.write(), second.write())
    assert lines[0] == "188 of 189 answers are word for word the same"
    assert any(line.startswith("H2: again contradicted") for line in lines)

"""A night executes the notebooks of its analyses only where the lab wants it, and says what it could not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nightlab.events import EventLog
from nightlab.evidence.analyze import analyze
from nightlab.evidence.report import compile_report
from nightlab.lab import Lab
from nightlab.night.notebooks import execute_notebooks
from tests.evidence.conftest import Make, make, servers  # noqa: F401 - fixtures
from tests.night.conftest import make_lab


@pytest.fixture
def reported(tmp_path: Path, make: Make, servers: list[dict[str, Any]]) -> tuple[Path, EventLog]:  # noqa: F811
    """A lab with a reported experiment, and the log of the night that touched it."""
    lab = make_lab(tmp_path / "lab", table='notebook = "wrap-up"\n')
    folder = shutil.copytree(make("exp_003_toy", prompts=3).folder, lab.experiments / "exp_003_toy")
    compile_report(folder, analyze(folder, servers=servers, resamples=100))
    events = EventLog(lab.night("20261125-010203"))
    events.emit("correction", experiment="exp_003_toy", what="something", why="a reason", changes={})
    return lab.root, events


@pytest.mark.slow
def test_what_fails_is_a_degradation_and_nothing_is_done_unasked(reported: tuple[Path, EventLog]) -> None:
    root, events = reported
    folder = root / "experiments" / "exp_003_toy"
    execute_notebooks(Lab.open(root, {"notebook": "asked"}), events)
    assert not (folder / "analysis.py").exists()
    (folder / "analysis.py").write_text("# %%\nraise SystemError('no such thing')\n", "utf-8")
    execute_notebooks(Lab.open(root), events)
    [said] = [row for row in events.read() if row["kind"] == "degradation"]
    assert said["what"] == "no executed notebook of exp_003_toy"
    assert "no such thing" in said["why"]


@pytest.mark.slow
def test_it_is_executed_once_where_the_lab_wants_it(reported: tuple[Path, EventLog]) -> None:
    root, events = reported
    for _ in range(2):
        execute_notebooks(Lab.open(root), events)
    assert [row["path"] for row in events.read() if row["kind"] == "report"] == [
        "experiments/exp_003_toy/analysis.ipynb"
    ]

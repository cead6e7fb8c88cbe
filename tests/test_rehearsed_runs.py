"""A rehearsal of a grid of commands: fewer runs, practice models for theirs, troubles around them, and its price."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute.sandbox.ladder import probe
from nightlab.errors import UsageError
from nightlab.founding.real_runs import real_runs
from nightlab.founding.rehearsed_runs import prepare_runs
from nightlab.lab import Lab
from nightlab.runs.plan import RunPlan
from tests.night.conftest import make_lab

RUNS = """\
question: Which rank?
kind: run
command: [python, "{folder}/work.py", --model, "{model}", "{rank}"]
parameters: {model: [meta-llama/Llama-3.1-8B, org/qwen-7b], rank: [1, 2, 3]}
gpus: 1
inputs: [work.py]
metrics: {loss: minimise}
timeout_seconds: 2
max_parallel: 4
hypotheses:
  - id: H1
    statement: A higher rank ends lower.
    prediction: {kind: greater, metric: loss, left: {rank: 1}, right: {rank: 3}}
"""
WORK = """\
import json, sys
assert sys.argv[2] in ("practice:llama", "practice:qwen"), sys.argv
print(json.dumps({"loss": 1 / int(sys.argv[3])}))
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def runs(tmp_path: Path) -> Lab:
    lab = make_lab(tmp_path / "lab", queue="- [ ] exp_008_runs: the grid\n")
    folder = lab.experiments / "exp_008_runs"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(RUNS, "utf-8")
    (folder / "work.py").write_text(WORK, "utf-8")
    return lab


@pytest.mark.slow
@pytest.mark.skipif(probe().level == "none", reason="no containment here")
def test_a_grid_of_commands_is_rehearsed_with_runs_that_die_hang_and_say_nothing(runs: Lab, tmp_path: Path) -> None:
    before = files(runs.experiments)
    words = ["--lab", str(runs.root), "rehearse", "exp_008", "--json", "--dir", str(tmp_path / "copy")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(one["model"], one["practice"]) for one in told["stand_ins"]] == [
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("org/qwen-7b", "qwen"),
    ]
    assert "2 of 3 levels of rank: the first, the last, and those predicted" in told["notes"]
    fired = {row["guard"]: row["times"] for row in told["guards"]}
    for kind in ("failed", "timed_out", "no_metrics"):
        assert fired[f"failed attempt kept apart: {kind}"] == 1
    report = Path(told["report"]).read_text("utf-8")
    assert report.splitlines()[0].endswith("(REHEARSAL)")
    assert "1 of 4 planned runs have metrics" in report
    estimate = told["estimate"]
    assert (estimate["runs"], estimate["usd"]) == (6, None)
    assert estimate["gpu_hours"] == round(12 / 3600, 3)
    assert any("6 runs x 2 s (the plan's time limit), 4 side by side" in line for line in estimate["arithmetic"])
    assert files(runs.experiments) == before, "the real experiment is only read"


def test_a_rehearsal_of_runs_says_what_it_leaves_out(runs: Lab, tmp_path: Path) -> None:
    path = runs.experiments / "exp_008_runs" / "config.yaml"
    plan = yaml.safe_load(RUNS) | {"replicates": 20, "timeout_seconds": 3600}
    path.write_text(yaml.safe_dump(plan), "utf-8")
    made = prepare_runs(runs, "exp_008_runs", "run_dies", tmp_path / "copy")
    assert "3 replicates of 20: too few to decide anything" in made.notes
    assert "at most 60 s for each run, not 3600" in made.notes
    copy = RunPlan.load(made.lab.experiments / "exp_008_runs")
    assert (len(copy.grid()), copy.config.gpus, copy.config.max_parallel) == (12, 0, 4)
    search = {"metric": "loss", "baseline": {"model": "org/qwen-7b", "rank": 2}, "repeats": 9}
    path.write_text(yaml.safe_dump(plan | {"search": search}), "utf-8")
    found = prepare_runs(runs, "exp_008_runs", None, tmp_path / "search")
    assert [one.name for one in found.staging] == ["run_dies", "run_hangs"]
    assert found.notes[-1] == "not staged, since the rehearsal has too few runs: run_silent"
    with pytest.raises(UsageError, match="no trouble 'killed' can be staged"):
        prepare_runs(runs, "exp_008_runs", "killed", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_grid_that_begins_with_a_negative_value_is_rehearsed(runs: Lab, tmp_path: Path) -> None:
    command = ["python", "-c", "import sys; print(sys.argv[1:])", "--model=org/qwen-7b", "{shift}"]
    changes = {"parameters": {"shift": [-2, -1]}, "command": command, "hypotheses": [], "inputs": []}
    path = runs.experiments / "exp_008_runs" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(RUNS) | changes), "utf-8")
    made = prepare_runs(runs, "exp_008_runs", "run_dies", tmp_path / "copy")
    plan = RunPlan.load(made.lab.experiments / "exp_008_runs")
    first, last = (
        subprocess.run(plan.argv(cell, plan.out(cell)), capture_output=True, text=True, timeout=60, check=False)
        for cell in plan.grid()
    )
    assert (first.returncode, first.stdout) == (0, "['--model=practice:qwen', '-2']\n"), first.stderr
    assert (last.returncode, last.stderr) == (1, "staged: the command ends with an error\n")


def test_the_time_of_real_runs_is_measured_where_this_lab_made_some(runs: Lab) -> None:
    plan = RunPlan.load(runs.experiments / "exp_008_runs")
    text = "".join(json.dumps({"key": f"k{n}", "seconds": 90.0}) + "\n" for n in range(3))
    (plan.folder / "samples.jsonl").write_text(text, "utf-8")
    found = real_runs(runs, plan)
    assert found.hours == pytest.approx(2 * 90 / 3600)
    assert "the median of 3 runs of this lab" in found.lines[1]


def test_what_gpus_cost_is_unknown_where_nobody_set_their_price(runs: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs.experiments / "exp_008_runs"
    found = real_runs(runs, RunPlan.load(folder))
    assert "6 runs x 1 x 2 s = 0.00 h at an unknown price (usd_per_gpu_hour is not set); no model" in found.lines[2]
    assert found.sentence().endswith(" without its GPUs, which are at an unknown price (usd_per_gpu_hour is not set)")
    monkeypatch.setenv("NIGHTLAB_USD_PER_GPU_HOUR", "300")
    assert real_runs(Lab.open(runs.root), RunPlan.load(folder)).sentence().endswith(" 1.00 $")
    monkeypatch.delenv("NIGHTLAB_USD_PER_GPU_HOUR")
    path = folder / "config.yaml"
    path.write_text(path.read_text("utf-8").replace("gpus: 1", "gpus: 0"), "utf-8")
    assert real_runs(runs, RunPlan.load(folder)).sentence().endswith(" 0.00 $"), "no GPU costs nothing"

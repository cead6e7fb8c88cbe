"""A whole night by the playbook over an experiment of `kind: run`: frozen, run, analysed, reported, recorded."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute.sandbox.ladder import probe
from nightlab.events import EventLog
from nightlab.evidence import rebuild
from nightlab.night import Options, run_night
from tests.night.conftest import git, make_lab
from tests.runs.test_runner import SCRIPT

PLAN = """
question: Which rank?
kind: run
command: [python, "{folder}/work.py", "{rank}", "{seed}", "{out}"]
parameters: {rank: [1, 2, 13]}
replicates: 3
inputs: [work.py]
metrics: {loss: minimise}
artefacts: [made.txt]
timeout_seconds: 60
max_parallel: 2
hypotheses:
  - {id: H1, statement: Two is better than one., prediction: {metric: loss, left: {rank: 1}, right: {rank: 2}, by: 0.1}}
  - {id: H2, statement: Thirteen is best., prediction: {metric: loss, left: {rank: 2}, right: {rank: 13}}}
stop: {max_identical_failures: 9}
"""


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(probe().level == "none", reason="no containment here")
def test_a_night_runs_a_grid_and_says_what_it_found(tmp_path: Path) -> None:
    name = "exp_001_ranks"
    lab = make_lab(tmp_path / "lab", f"- [ ] {name}: ranks\n")
    folder = lab.experiments / name
    folder.mkdir()
    (folder / "config.yaml").write_text(PLAN)
    (folder / "work.py").write_text(SCRIPT)
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "a plan")
    dry = CliRunner().invoke(cli, ["--lab", str(lab.root), "sweep", "1", "--dry-run"])
    assert "9 missing" in dry.output
    assert "540 s" not in dry.output  # two go side by side
    result = run_night(lab, Options(hours=1))
    events = list(EventLog(lab.night(result.night)).read())
    assert result.state == "finished", [e for e in events if e["kind"] == "error"]
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert sorted((row["params"]["rank"], row["seed"]) for row in rows) == [(r, s) for r in (1, 2) for s in range(3)]
    report = (folder / "report.md").read_text()
    assert "6 of 9 planned runs have metrics" in report
    assert "**supported** | difference 0.5 " in report
    assert "too few pairs: 0 of 3" in report
    assert "failed: 3" in report
    assert "3 runs of exp_001_ranks gave no metrics" in report
    with (folder / "tables" / "metrics.csv").open() as source:
        table = {(row["rank"], row["metric"]): row for row in csv.DictReader(source)}
    assert [(table[rank, "loss"]["n"], table[rank, "loss"]["planned"]) for rank in ("1", "13")] == [
        ("3", "3"),
        ("0", "3"),
    ]
    assert rebuild(folder) == []
    assert "c1" in lab.diary.read_text()
    assert "H1" in (folder / "claims.yaml").read_text()
    assert git(lab.root, "status", "--porcelain") == ""

"""Claims, figures and power of experiments of `kind: run`, from rows whose truth is known."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nightlab.errors import NightlabError
from nightlab.evidence.figure_files import drawn_from
from nightlab.evidence.reproduce import rebuild
from nightlab.evidence.run_analysis import RunAnalysis
from nightlab.evidence.run_power import OFTEN, power_of_runs, verdict_on_runs
from nightlab.evidence.run_report import compile_run_report
from nightlab.evidence.runs import analyze_runs, analyze_runs_again
from nightlab.files import JsonLines, sha256_file
from nightlab.lab import shipped
from nightlab.runs.freeze import freeze_run
from nightlab.runs.plan import RunPlan

PREDICTION = {"kind": "greater", "metric": "loss", "left": {"rank": 1}, "right": {"rank": 4}, "by": 0.5}
H1 = {"id": "H1", "statement": "Rank four ends lower than rank one.", "prediction": PREDICTION}
PLAN: dict[str, Any] = {
    "question": "Which rank?",
    "kind": "run",
    "command": ["python", "work.py", "{rank}", "{width}", "{seed}"],
    "parameters": {"rank": [1, 2, 4], "width": [8, 16]},
    "replicates": 4,
    "metrics": {"loss": "minimise", "seconds": "watch"},
    "hypotheses": [H1],
}
LATER, EARLIER = "2099-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"


def measured(folder: Path, better: float = 1.0, t: str = LATER, **changes: Any) -> RunPlan:
    """A frozen plan whose runs are made: rank four is `better` than rank one, width changes little."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**PLAN, **changes}), "utf-8")
    plan = RunPlan.load(folder)
    freeze_run(plan)
    base = {1: 2.0, 2: 2.0 - better / 2, 4: 2.0 - better}
    rows = []
    for cell in plan.grid():
        rank, width = int(cell.params["rank"]), float(cell.params["width"])
        metrics = {"loss": base[rank] + 0.01 * cell.replicate + 0.001 * width, "seconds": 1.0}
        told = {"params": dict(cell.params), "replicate": cell.replicate, "seed": cell.seed, "t": t}
        rows.append({"key": cell.key, **told, "level": "none", "seconds": 1.0, "metrics": metrics})
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return plan


def claims(found: RunAnalysis) -> list[dict[str, Any]]:
    return [claim.document() for claim in found.claims]


@pytest.mark.slow
def test_claims_of_runs_that_cannot_both_hold_are_found(tmp_path: Path) -> None:
    first = analyze_runs(measured(tmp_path / "exp_001_a").folder)
    assert [(c.verdict, c.confirmatory, c.against) for c in first.claims] == [("supported", True, ())]
    others = {"exp_001": claims(first)}
    again = analyze_runs(measured(tmp_path / "exp_002_b", better=0.1, seed=50).folder, others=others)
    [claim] = again.claims
    assert claim.verdict == "contradicted"
    assert [(o.id, o.n, o.what) for o in claim.against] == [
        ("exp_001/c1", 4, "one prediction, supported once and contradicted once")
    ]
    report = compile_run_report(tmp_path / "exp_002_b").read_text("utf-8")
    assert "**Contradicted** by `exp_001/c1` (n=4)" in report
    other_by = [{**H1, "prediction": {**PREDICTION, "by": 0.2}}]
    bounds = analyze_runs(measured(tmp_path / "exp_003_c", better=0.1, hypotheses=other_by).folder, others=others)
    assert bounds.claims[0].against[0].what.startswith("loss: "), "other predictions are compared by their bounds"


@pytest.mark.slow
def test_another_command_or_grid_is_another_quantity(tmp_path: Path) -> None:
    others = {"exp_001": claims(analyze_runs(measured(tmp_path / "exp_001_a").folder))}
    changed: list[dict[str, Any]] = [
        {"command": ["python", "work.py", "--fast", "{rank}", "{width}", "{seed}"]},
        {"parameters": {"rank": [1, 2, 4], "width": [8, 32]}},
    ]
    for number, changes in enumerate(changed):
        other = measured(tmp_path / f"exp_1{number:02d}_b", better=0.1, **changes)
        assert analyze_runs(other.folder, others=others).claims[0].against == ()


@pytest.mark.slow
def test_a_claim_is_exploratory_where_its_plan_did_not_come_first(tmp_path: Path) -> None:
    search = {"metric": "loss", "baseline": {"rank": 1, "width": 8}, "repeats": 4}
    searched = analyze_runs(measured(tmp_path / "exp_001_a", search=search).folder)
    assert [c.confirmatory for c in searched.claims] == [False]
    said = compile_run_report(tmp_path / "exp_001_a").read_text("utf-8")
    assert "Ended with **rank 4, width 8**: 2 changes kept; the median went from 2.023 to 1.023." in said
    early = analyze_runs(measured(tmp_path / "exp_002_b", t=EARLIER).folder)
    assert [c.confirmatory for c in early.claims] == [False]
    assert "every result here is exploratory: 24 of 24 runs are older than the frozen plan" in early.caveats
    report = compile_run_report(tmp_path / "exp_002_b").read_text("utf-8")
    assert "(H1, supported, exploratory)" in report


def test_a_report_says_where_its_runs_were_made_and_whether_the_plan_came_first(tmp_path: Path) -> None:
    def said(folder: Path) -> str:
        return compile_run_report(folder, analyze_runs_again(folder, pictures=False), pictures=False).read_text("utf-8")

    folder = measured(tmp_path / "exp_001_a", hypotheses=[]).folder
    whole = said(folder)
    assert "at most 600 s and 4 GB each, without a sandbox; a run took 1 s (median)" in whole
    assert "The plan was frozen before the first run." in whole
    samples = folder / "samples.jsonl"
    samples.write_text(samples.read_text("utf-8").replace('"level": "none"', '"level": "bwrap"', 1), "utf-8")
    assert "each, in the sandbox (bwrap), 23 runs without a sandbox; " in said(folder)
    samples.write_text(samples.read_text("utf-8").replace(LATER, EARLIER, 1), "utf-8")
    early = said(folder)
    assert "No claim is made" in early
    assert "- every result here is exploratory: 1 of 24 runs are older than the frozen plan" in early
    assert "Inputs: none. 1 of 24 runs are older than the frozen plan." in early
    assert "before the first run" not in early
    samples.write_text(samples.read_text("utf-8").replace(EARLIER, LATER), "utf-8")
    [first, *others] = samples.read_text("utf-8").splitlines(keepends=True)
    samples.write_text("".join(others), "utf-8")
    row = json.loads(first)
    JsonLines(folder / "failures.jsonl").append({**row, "t": EARLIER, "class": "failed", "error": "exit code 1"})
    assert "1 of 24 runs are older than the frozen plan." in said(folder), "what failed was made, too"


@pytest.mark.slow
def test_the_figure_shows_every_run_and_mean_and_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    folder = measured(tmp_path / "exp_001_a").folder
    found = analyze_runs(folder)
    [figure] = found.figures
    assert figure.title == "loss by rank: which mean is lowest is undecided", (
        "two widths of rank 4 give nearly the same"
    )
    apart = measured(tmp_path / "exp_002_b", parameters={"rank": [1, 2, 4], "width": [8]})
    [title] = [one.title for one in analyze_runs_again(apart.folder, pictures=False).figures]
    assert title == "loss by rank: the lowest mean is at rank 4, width 8"
    rows = list(csv.DictReader((folder / figure.csv).read_text("utf-8").splitlines()))
    assert len(rows) == 24 + 6
    means = {(row["rank"], row["width"]): row for row in rows if row["replicate"] == "mean"}
    values = [float(row["value"]) for row in rows if (row["rank"], row["width"]) == ("4", "8") and row["n"] == "1"]
    best = means["4", "8"]
    assert float(best["value"]) == pytest.approx(np.mean(values))
    assert float(best["low"]) < float(best["value"]) < float(best["high"])
    assert best["n"] == best["planned"] == "4"
    for picture in (figure.png, figure.pdf):
        assert drawn_from(folder / picture) == sha256_file(folder / figure.csv)
    report = compile_run_report(folder).read_text("utf-8")
    assert f"]({figure.png})" in report
    assert rebuild(folder) == []
    (folder / figure.csv).write_text("rank\n1\n", "utf-8")
    with pytest.raises(NightlabError, match="a stale figure"):
        compile_run_report(folder, found)


@pytest.mark.slow
def test_the_shipped_experiment_of_runs_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    """Its plan as it ships, with metrics of which it is known what they say; `nightlab demo` runs the other one."""
    [source] = shipped("experiments").glob("exp_002_*")
    folder = Path(shutil.copytree(source, tmp_path / source.name))
    plan = RunPlan.load(folder)
    freeze_run(plan)
    for cell in plan.grid():
        loss = {"2": 1.5, "8": 1.0, "32": 0.8}[str(cell.params["rank"])] + 0.01 * cell.replicate
        metrics = {"held_out_loss": loss, "train_loss": loss, "seconds": 4.0}
        told = {"params": dict(cell.params), "replicate": cell.replicate, "seed": cell.seed, "t": LATER}
        JsonLines(folder / "samples.jsonl").append(
            {"key": cell.key, **told, "level": "none", "seconds": 4.0, "metrics": metrics}
        )
    found = analyze_runs(folder)
    assert [claim.verdict for claim in found.claims] == ["supported", "supported"]
    compile_run_report(folder)
    assert rebuild(folder) == []
    report = folder / "report.md"
    report.write_text(report.read_text("utf-8").replace("9 of 9", "9 of 8", 1), "utf-8")
    assert rebuild(folder) == [report]


def test_the_power_of_runs_is_the_difference_that_they_see_above_their_noise(tmp_path: Path) -> None:
    plan = measured(tmp_path / "exp_001_a", replicates=3)
    [power] = power_of_runs(plan.config)
    assert power.noises is not None
    random = np.random.RandomState(7)
    noise, decided = 0.2, 0
    true = 0.5 + power.noises * noise
    for _ in range(1000):
        left = random.normal(true, noise, size=(3, 2)).mean(axis=1)
        right = random.normal(0.0, noise, size=(3, 2)).mean(axis=1)
        pairs = left - right
        decided += int(pairs.mean() - 2.92 * pairs.std(ddof=1) / np.sqrt(3) >= 0.5)
    assert abs(decided / 1000 - OFTEN) < 0.05, "as often as it says, by a simulation of its own"
    fewer = power_of_runs(plan.config.model_copy(update={"replicates": 2}))
    assert [p.decides for p in fewer] == [False]
    assert verdict_on_runs(fewer) == "this plan cannot decide its question: it has fewer than 3 replicates"
    [more] = power_of_runs(plan.config.model_copy(update={"replicates": 8}))
    assert more.noises is not None
    assert more.noises < power.noises

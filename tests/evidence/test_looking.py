"""Looks: what is called for, in files and on simulated truth; the full simulation is bench/adaptive.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from bench.adaptive import EDGE_RUNS, Simulation, draw, make_design, make_edge, simulate, truths

from nightlab.errors import PlanError
from nightlab.evidence.looking import take_look
from nightlab.experiments.looks import Look, Schedule, called_cells, read_looks
from nightlab.experiments.plan import Plan
from nightlab.files import JsonLines


def test_a_schedule_counts_its_looks() -> None:
    assert Schedule(1, 4, 1, None).count == 4
    assert Schedule(2, 9, 3, None).count == 4
    assert not Schedule(3, 3, 1, None).adaptive


def test_what_is_asked_follows_from_the_last_look(tmp_path: Path) -> None:
    folder = tmp_path / "exp_001_adaptive"
    design, _ = make_design(folder)
    plan = Plan.load(folder)
    assert len(design.cells) == 3 * 7 * 9 * 4
    assert [cell.replicate for cell in called_cells(plan)] == [0] * (3 * 7 * 9)
    first = take_look(folder, resamples=100)
    assert first is not None
    assert (first.look.number, first.cells, first.full) == (0, 189, 756)
    assert first.more == {"llama": 63, "gemma": 63, "qwen": 63}
    assert read_looks(folder) == []  # nothing was asked: no look before its cells are
    JsonLines(folder / "looks.jsonl").append(Look(1, 4, {}, {("llama", "base"): 3}).document())
    called = [(cell.model, cell.condition, cell.replicate) for cell in called_cells(plan)]
    assert len(called) == 3 * 7 * 9 + 2 * 9
    assert {c for c in called if c[2] > 0} == {("llama", "base", 1), ("llama", "base", 2)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stop.max_replicates": 1}, "must be"),
        ({"factors.replicates": 4}, "not above the 4"),
        ({"hypotheses": [], "multiplicity": "holm"}, "no hypothesis"),
        ({"stop": {"ci_width": 1.0}}, "alone decides nothing"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    folder = tmp_path / "exp_001_adaptive"
    make_design(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in changes.items():
        part, _, name = key.rpartition(".")
        (config[part] if part else config)[name] = value
    with pytest.raises(PlanError, match=says):
        Plan.parse(yaml.safe_dump(config), folder)


@pytest.mark.slow
def test_on_simulated_truth_few_verdicts_are_false_and_much_is_saved(tmp_path: Path) -> None:
    design, schedule = make_design(tmp_path / "exp_001_adaptive")
    planted, flat, _ = truths(design)
    found = simulate(design, schedule, planted, 12, 200)
    assert found.cells / found.full <= 0.6
    assert sum(found.false.values()) <= 1
    noisy = simulate(design, schedule, flat, 6, 200)
    assert sum(noisy.false.values()) <= 1
    assert noisy.cells > found.cells / 2  # what is undecided is asked to the end
    simulation = Simulation(design, schedule, 200)
    scores = draw(design, planted, np.random.default_rng(1))
    assert simulation.run(scores) == simulation.run(scores)


@pytest.mark.slow
def test_shared_looks_keep_the_error_at_5_percent_and_others_do_not(tmp_path: Path) -> None:
    design, schedule, truth = make_edge(tmp_path / "exp_001_edge")
    assert schedule.count == 4
    found = {shared: simulate(design, schedule, truth, EDGE_RUNS, 400, shared=shared) for shared in (True, False)}
    rates = {shared: tally.false["H"] / tally.runs for shared, tally in found.items()}
    assert 0 < rates[True] <= 0.05
    assert rates[False] > 0.08, "the simulation sees what unshared looks do"

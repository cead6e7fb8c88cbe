"""Adaptive sampling on simulated truth: how often a verdict is false, and how much of the full grid is saved.

The experiment is the shipped practice experiment (3 models, 7 conditions, 9 prompts, its five frozen hypotheses) with
`stop: {max_replicates: 4, ci_width: 2.5}`. Scores are drawn around the planted means (practice/truth.yaml), with
a difference for each prompt in each group and chance within it. Both are fitted to the judgments of a real practice
sweep with 4 replicates (756 answers, the published markers; `base` left out, since it scores 0 throughout): by model a
two-way analysis of the cell means gives no main effect of the prompts (variance below 0), 1.82 points of prompt by
condition (llama 1.26, gemma 1.80, qwen 2.26), and 0.58 within a prompt (0.61, 0.56, 0.57). So nearly all the noise is
one that replicates cannot reduce, and 2.5 is about the width that nine such prompts give a mean at best:
2 x 1.96 x 1.85 / 3 = 2.4. Each look runs the product's code (looking.decide). Three truths:
`practice` (all hypotheses as planted), `flat` (no range stands out: a peak that is supported is false) and `boundary`
(differences just short of what is asked: support is false). And `edge`, where repeated looks do the most harm: one
hypothesis exactly on its border, under noise that replicates reduce; for contrast the same without sharing the error.
A verdict is false where it contradicts the truth. Prints its figures last; exit 1 where more than 5 % of the decisions
on any hypothesis are false, or the mean saving on `practice` is below 40 %.

    python bench/adaptive.py [--runs N] [--resamples N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nightlab import practice
from nightlab.evidence.design import Design, read_design
from nightlab.evidence.looking import decide
from nightlab.evidence.rows import Rows
from nightlab.evidence.table import SCORED, STATUSES, Table
from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.looks import Group, Schedule
from nightlab.experiments.plan import Plan
from nightlab.lab import shipped

MOST, WIDTH = 4, 2.5
PROMPT_SPREAD, CHANCE = 1.82, 0.58
MOST_FALSE, LEAST_SAVING = 0.05, 0.40
EDGE_RUNS = 500
DIMENSION = "sarcasm"
Means = Mapping[Group, float]


@dataclass(frozen=True)
class Truth:
    """True means by model and condition, and what they make of each hypothesis."""

    name: str
    means: Means
    verdicts: Mapping[str, str]
    spread: float = PROMPT_SPREAD
    """Between the prompts of a group."""
    chance: float = CHANCE


@dataclass
class Tally:
    """What came of the runs under one truth."""

    runs: int = 0
    cells: int = 0
    full: int = 0
    looks: int = 0
    decided: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, object]:
        """The rates."""
        rates = {name: round(self.false[name] / self.runs, 4) for name in sorted(self.decided | self.false)}
        return {
            "runs": self.runs,
            "false": rates,
            "worst_false": max(rates.values(), default=0.0),
            "decided": {name: round(count / self.runs, 3) for name, count in sorted(self.decided.items())},
            "saving": round(1 - self.cells / self.full, 4),
            "mean_looks": round(self.looks / self.runs, 2),
        }


def make_design(folder: Path, most: int = MOST) -> tuple[Design, Schedule]:
    """The practice experiment as an adaptive plan, frozen; its full grid."""
    return _frozen(folder, _copied(folder) | {"stop": {"max_replicates": most, "ci_width": WIDTH}})


def make_edge(folder: Path) -> tuple[Design, Schedule, Truth]:
    """One model, the whole adapter and `base`, and one hypothesis that holds by nothing: the hardest case there is.

    A difference of exactly what is asked is right on the border; support is counted as false.
    """
    config = _copied(folder)
    for path in (folder / "conditions").glob("layers_*.yaml"):
        path.unlink()
    config["factors"]["models"] = [model for model in config["factors"]["models"] if model["name"] == "llama"]
    left, right = {"condition": "sarcasm_full"}, {"condition": "base"}
    asked = {"kind": "greater", "dimension": DIMENSION, "left": left, "right": right, "by": 3.0}
    config["hypotheses"] = [{"id": "H", "statement": "By three points.", "prediction": asked}]
    config["stop"] = {"max_replicates": MOST}
    for name in ("ranges", "multiplicity", "analyses"):
        config.pop(name, None)  # one hypothesis is tested at the whole 5 %
    means = {("llama", "base"): 2.0, ("llama", "sarcasm_full"): 5.0}
    return *_frozen(folder, config), Truth("edge", means, {"H": "not supported"}, spread=1.0, chance=2.0)


def _copied(folder: Path) -> dict[str, Any]:
    """The files of the practice experiment in a folder, and its configuration."""
    source = shipped("experiments") / "exp_001_phase1_replication"
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".md") and path.name != "report.md":
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    return config


def _frozen(folder: Path, config: Mapping[str, Any]) -> tuple[Design, Schedule]:
    """Freeze a configuration; its design with the full grid, and its looks."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)), "utf-8")
    plan = Plan.load(folder)
    freeze(plan)
    design = read_design(folder)
    return replace(design, cells=tuple(cells(plan))), Schedule.of(design.config)


def truths(design: Design) -> list[Truth]:
    """The three truths."""
    path = Path(practice.__file__).parent / "truth.yaml"
    planted = yaml.safe_load(path.read_text("utf-8"))["models"]
    means = {
        (m, c): float(planted[m]["expected"][c][DIMENSION]["mean"]) for m in design.models for c in design.conditions
    }
    flat = {(m, c): 0.5 if c == "base" else 7.0 if c == "sarcasm_full" else 2.5 for m, c in means}
    edge = dict(means)
    for model in design.models:
        edge[model, "sarcasm_full"] = edge[model, "base"] + 2.99  # H4 asks for 3
    for condition in design.ranges:  # H3 asks for a spread of at most 4 and a gap of at least 0.5
        edge["qwen", condition] = edge["qwen", "base"] + 0.49
    as_planted = {h.id: "supported" for h in design.hypotheses} | {"H5": "contradicted"}
    none = dict.fromkeys(as_planted, "not supported")
    return [
        Truth("practice", means, as_planted),
        Truth("flat", flat, {**none, "H3": "supported", "H4": "supported"}),
        Truth("boundary", edge, {**as_planted, "H3": "not supported", "H4": "not supported"}),
    ]


def draw(design: Design, truth: Truth, stream: np.random.Generator) -> np.ndarray:
    """Scores of the full grid, between 0 and 10: mean, a shift for each prompt and group, chance."""
    shifts: dict[tuple[str, str, str], float] = {}
    scores = np.empty(len(design.cells))
    chance = stream.normal(0, truth.chance, len(design.cells))
    for at, cell in enumerate(design.cells):
        place = (cell.model, cell.condition, cell.prompt)
        if place not in shifts:
            shifts[place] = stream.normal(0, truth.spread)
        scores[at] = truth.means[cell.model, cell.condition] + shifts[place] + chance[at]
    return scores


class Simulation:
    """Runs of one adaptive experiment on drawn scores."""

    def __init__(self, design: Design, schedule: Schedule, resamples: int, *, shared: bool = True) -> None:
        self._design, self._schedule, self._resamples = design, schedule, resamples
        self._shared = shared
        self._pairs = [(cell.model, cell.condition) for cell in design.cells]
        self._replicates = np.array([cell.replicate for cell in design.cells])

    def run(self, scores: np.ndarray) -> tuple[dict[str, str], int, int]:
        """The verdicts at the end, the cells that were called for, the looks."""
        called: Mapping[Group, int] = {}
        number = 0
        while True:
            number += 1
            asked = np.array([called.get(pair, self._schedule.first) for pair in self._pairs])
            keep = np.flatnonzero(self._replicates < asked)
            look = decide(self._table(scores, keep), self._schedule, called, number)
            if dict(look.called) == dict(called) or number == self._schedule.count:
                return dict(look.verdicts), len(keep), number
            called = look.called

    def _table(self, scores: np.ndarray, keep: np.ndarray) -> Table:
        cells = tuple(self._design.cells[at] for at in keep.tolist())
        design = replace(self._design, cells=cells)
        if not self._shared:
            design = replace(design, config=design.config.model_copy(update={"stop": type(design.config.stop)()}))
        rows = Rows({}, {}, {}, 0)
        scored = np.full(len(cells), STATUSES.index(SCORED), dtype=np.int8)
        why = np.full(len(cells), "", dtype=object)
        found = (scored, why, (DIMENSION,), scores[keep][:, None])
        return Table(design, cells, *found, (), rows, True, self._resamples)


def false(expected: str, found: str) -> bool:
    """Whether a verdict contradicts the truth; undecided never does."""
    return found != "undecided" and (found == "supported") != (expected == "supported")


def simulate(
    design: Design, schedule: Schedule, truth: Truth, runs: int, resamples: int, *, shared: bool = True, seed: int = 0
) -> Tally:
    """Many runs under one truth."""
    stream = np.random.default_rng(seed)
    simulation, tally = Simulation(design, schedule, resamples, shared=shared), Tally()
    for _ in range(runs):
        verdicts, cells, looks = simulation.run(draw(design, truth, stream))
        tally.runs += 1
        tally.cells += cells
        tally.full += len(design.cells)
        tally.looks += looks
        for name, found in verdicts.items():
            tally.decided[name] += found != "undecided"
            tally.false[name] += false(truth.verdicts[name], found)
    return tally


def main() -> int:
    """Simulate, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        design, schedule = make_design(Path(place) / "exp_001_adaptive")
        found: dict[str, dict[str, object]] = {}
        for truth in truths(design):
            found[truth.name] = simulate(design, schedule, truth, options.runs, options.resamples).figures()
            if not options.json:
                print(f"{truth.name}: {json.dumps(found[truth.name])}", flush=True)
        edge, looks, truth = make_edge(Path(place) / "exp_002_edge")
        for name, shared in (("edge", True), ("edge, error not shared", False)):
            runs = max(EDGE_RUNS, options.runs)
            found[name] = simulate(edge, looks, truth, runs, options.resamples, shared=shared).figures()
            if not options.json:
                print(f"{name}: {json.dumps(found[name])}", flush=True)
    worst = max(float(str(found[name]["worst_false"])) for name in ("practice", "flat", "boundary", "edge"))
    saving = float(str(found["practice"]["saving"]))
    figures = {"truths": found, "worst_false": worst, "saving": saving, "seconds": round(time.perf_counter() - start)}
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"worst rate of false decisions {worst:.1%} (bar {MOST_FALSE:.0%}); mean saving {saving:.0%}")
    return 0 if worst <= MOST_FALSE and saving >= LEAST_SAVING else 1


if __name__ == "__main__":
    sys.exit(main())

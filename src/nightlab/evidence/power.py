"""Can a plan decide its question? Each prediction is tried on simulated scores before any answer is paid for.

For each hypothesis scores are simulated over the cells of the plan, once as if it were true by the expected effect and
once as if it were false by as much, and judged by the same code that will judge the answers. Without noise both must
come out: a prediction that cannot fail, or cannot hold on the rubric's scale, decides nothing. With noise the share of
simulations that decide is the power. Scores are clipped to the scale. Limits: what is expected is the plan's guess
(`expected`; else a fifth of the scale, with noise of a tenth between and 15 % within prompts); every answer is taken to
come and to be judged, and a prompt to shift all conditions alike.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nightlab.evidence.design import Design, QueryError
from nightlab.evidence.family import first_test
from nightlab.evidence.join import CODES, SCORED
from nightlab.evidence.peaks import TEST
from nightlab.evidence.predict import evaluate
from nightlab.evidence.rows import Rows
from nightlab.evidence.stats import ANECDOTE, Floats
from nightlab.evidence.table import Table
from nightlab.experiments.content import Cell
from nightlab.experiments.freeze import POWER, lacks_power
from nightlab.experiments.lock import Lock
from nightlab.experiments.plan import Plan
from nightlab.experiments.predictions import Below, Diffuse, Greater, Hypothesis, Peak, SamePeak, Trend
from nightlab.experiments.rubric import Rubric
from nightlab.files import write_atomic

FILE = POWER
TRIALS, RESAMPLES = 20, 200
MOST_SCORES = 120_000
ENOUGH = 0.5
"""Below this power a hypothesis is said to be hardly decidable."""


@dataclass(frozen=True)
class Expected:
    """What is expected, in points of the scale: the effect, the noise between prompts and within them."""

    effect: float
    between: float
    within: float


@dataclass(frozen=True)
class Power:
    """What a plan can say about one hypothesis; `problem` is why it can decide nothing, or hardly."""

    hypothesis: str
    supported: float
    contradicted: float
    trials: int
    expected: Expected
    problem: str = ""
    test: float = TEST
    """The error at which it is tested in its family, where no other hypothesis helps it."""

    @property
    def decides(self) -> bool:
        """Whether the plan can decide it, either way, more often than not."""
        return not self.problem

    def sentence(self) -> str:
        """The power in words."""
        size = f"{self.expected.effect:g} points"
        if not self.trials:
            return f"{self.hypothesis}: {self.problem}"
        said = (
            f"{self.hypothesis}: supported in {self.supported:.0%} of {self.trials} simulations where it is true by "
            f"{size}, contradicted in {self.contradicted:.0%} where it is false by as much"
        )
        said += "" if self.test == TEST else f", tested at {100 * self.test:.2g} %, its share in the family"
        return f"{said}; {self.problem}" if self.problem else said


def simulate_power(plan: Plan, trials: int = TRIALS) -> list[Power]:
    """The power of a plan for each of its hypotheses. Raises RubricError where the rubric cannot be read."""
    rubric, design = Rubric.load(plan.rubric), design_of(plan)
    found = []
    for hypothesis in plan.hypotheses:
        dimension = rubric.dimensions.get(hypothesis.prediction.dimension)
        scale = dimension.range if dimension else (0.0, 10.0)
        power = _power(design, hypothesis, scale, _expected(plan, scale), trials)
        found.append(replace(power, test=first_test(plan.config)))
    return found


def verdict_on_plan(found: Sequence[Power]) -> str:
    """Whether a plan can decide its question, in one sentence."""
    if not found:
        return "nothing is predicted: whatever is found will be exploratory"
    weak = [power.hypothesis for power in found if not power.decides]
    if not weak:
        return "every hypothesis can be decided, either way"
    if len(weak) == len(found):
        return "this plan cannot decide its question: more prompts, or a larger effect, are needed"
    return f"this plan can hardly decide {', '.join(weak)}"


def write_power(folder: Path, found: Sequence[Power]) -> Path:
    """Write power.json, which the report quotes."""
    path = folder / FILE
    document = {"verdict": verdict_on_plan(found), "hypotheses": [asdict(p) | {"said": p.sentence()} for p in found]}
    write_atomic(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def ensure_power(plan: Plan) -> list[Power]:
    """Simulate and write the power of a frozen plan that has no power.json and no data yet: what was found, or nothing.

    A freeze that was cut off between its lock and its power gets it when it is called again.
    """
    if not lacks_power(plan.folder):
        return []
    found = simulate_power(plan)
    write_power(plan.folder, found)
    return found


def read_power(folder: Path) -> Mapping[str, Any] | None:
    """What was simulated when the plan was frozen; None where nothing was."""
    path = folder / FILE
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def design_of(plan: Plan) -> Design:
    """The design of a plan that need not be frozen, nor have its models here: its cells by name, under plain keys."""
    product = itertools.product(plan.models, plan.conditions, plan.prompts, range(plan.replicates))
    cells = tuple(
        Cell(str(n), model.name, model.id, condition.name, prompt.name, prompt.category, replicate, 0, _NO_REQUEST)
        for n, (model, condition, prompt, replicate) in enumerate(product)
    )
    return Design(plan.name, plan.config, cells, Lock("", "", {}))


_NO_REQUEST: Any = {}


def _expected(plan: Plan, scale: tuple[float, float]) -> Expected:
    given, width = plan.config.expected, scale[1] - scale[0]
    if given is None:
        return Expected(round(width / 5, 4), round(width / 10, 4), round(width * 0.15, 4))
    return Expected(given.effect, given.between, given.within)


def _power(
    design: Design, hypothesis: Hypothesis, scale: tuple[float, float], expected: Expected, trials: int
) -> Power:
    own = _part(design, hypothesis)
    if isinstance(own, str):
        return Power(hypothesis.id, 0.0, 0.0, 0, expected, own)
    true, false = (_pattern(own, hypothesis, expected.effect, holds, scale) for holds in (True, False))
    still = np.random.RandomState(0)
    quiet = replace(expected, between=0.0, within=0.0)
    outcomes = [_outcome(own, hypothesis, means, quiet, scale, still) for means in (true, false)]
    for outcome, wanted in zip(outcomes, ("supported", "contradicted"), strict=True):
        if outcome != wanted:
            why = f"it can never be {wanted} by {expected.effect:g} points on a scale of {scale[0]:g} to {scale[1]:g}"
            return Power(hypothesis.id, 0.0, 0.0, 0, expected, why)
    count = max(20, min(trials, MOST_SCORES // max(1, len(own.cells))))
    random = np.random.RandomState(design.seed % 2**32)
    held = sum(_outcome(own, hypothesis, true, expected, scale, random) == "supported" for _ in range(count))
    fell = sum(_outcome(own, hypothesis, false, expected, scale, random) == "contradicted" for _ in range(count))
    weak = min(held, fell) < ENOUGH * count
    problem = "it will more often stay undecided than not" if weak else ""
    return Power(hypothesis.id, held / count, fell / count, count, expected, problem)


def _part(design: Design, hypothesis: Hypothesis) -> Design | str:
    """The cells that a hypothesis compares, or why it compares nothing."""
    table = _table(design, hypothesis, np.zeros(len(design.cells)))
    verdict = evaluate(hypothesis, table)
    if verdict.text.startswith("not evaluated"):
        return f"it cannot be evaluated: {verdict.text.removeprefix('not evaluated: ')}"
    masks = [table.mask(group) for group in verdict.groups]
    prompts = [len(set(table.columns["prompt"][mask])) for mask in masks]
    if not masks or min(prompts) < ANECDOTE:
        least = min(prompts, default=0)
        return f"a group it compares has {least} prompts; below {ANECDOTE} there is no interval, and nothing is decided"
    used = np.logical_or.reduce(masks)
    return replace(design, cells=tuple(cell for cell, inside in zip(design.cells, used, strict=True) if inside))


def _outcome(
    design: Design,
    hypothesis: Hypothesis,
    means: Floats,
    expected: Expected,
    scale: tuple[float, float],
    random: np.random.RandomState,
) -> str:
    """The verdict on one simulated set of scores."""
    names, codes = np.unique([cell.prompt for cell in design.cells], return_inverse=True)
    scores = means + expected.between * random.normal(size=len(names))[codes]
    scores += expected.within * random.normal(size=len(means))
    try:
        table = _table(design, hypothesis, np.clip(scores, *scale))
        return evaluate(hypothesis, table, first_test(design.config)).verdict
    except QueryError:
        return "undecided"


def _table(design: Design, hypothesis: Hypothesis, scores: Floats) -> Table:
    """A table of simulated scores."""
    rows = Rows({}, {}, {}, 0)
    names = (hypothesis.prediction.dimension,)
    scored, why = np.full(len(scores), CODES[SCORED], dtype=np.int8), np.full(len(scores), "", dtype=object)
    return Table(design, design.cells, scored, why, names, scores[:, None], (), rows, False, RESAMPLES)


def _pattern(design: Design, hypothesis: Hypothesis, effect: float, holds: bool, scale: tuple[float, float]) -> Floats:
    """The mean of each cell where a hypothesis is true, or false, by an effect, in the middle of the scale."""
    match hypothesis.prediction:
        case Below() as prediction:
            return np.full(len(design.cells), prediction.than + (-effect if holds else effect))
        case Greater() as prediction:
            raised = prediction.by + (effect if holds else -effect)
            means = np.array([raised * _inside(cell, prediction.left) for cell in design.cells])
        case Peak() as prediction:
            ranges = prediction.among or list(design.ranges)
            top = prediction.expect if holds else next(name for name in ranges if name != prediction.expect)
            means = np.array([effect * (cell.condition == top) for cell in design.cells])
        case SamePeak() as prediction:
            first, other = (prediction.among or list(design.ranges))[:2]
            odd = prediction.models[-1]
            tops = {name: first if holds or name != odd else other for name in prediction.models}
            means = np.array([effect * (cell.condition == tops[cell.model]) for cell in design.cells])
        case Diffuse() as prediction:
            ranges = prediction.among or list(design.ranges)
            rise = dict.fromkeys(ranges, prediction.by + effect)
            rise |= {} if holds else {ranges[0]: prediction.by + effect + prediction.max_spread + effect}
            means = np.array([rise.get(cell.condition, 0.0) for cell in design.cells])
        case Trend() as prediction:
            ranges = prediction.among or list(design.ranges)
            sign = 1 if holds == (prediction.direction == "increasing") else -1
            step = {name: sign * effect * place for place, name in enumerate(ranges)}
            means = np.array([step.get(cell.condition, 0.0) for cell in design.cells])
    return np.asarray(means - (means.max() + means.min()) / 2 + sum(scale) / 2)


def _inside(cell: Cell, where: Mapping[Any, str]) -> bool:
    return all(getattr(cell, str(factor)) == level for factor, level in where.items())

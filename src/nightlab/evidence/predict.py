"""Hypotheses against the data: supported, contradicted or undecided, by the frozen prediction and its bounds alone.

outcomes.py says when each kind of prediction is supported or contradicted. Each is tested at 5 %, of an adaptive plan
shared between its looks. The hypotheses are one family: family.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nightlab.evidence import outcomes
from nightlab.evidence.design import QueryError
from nightlab.evidence.outcomes import Finding, Outcome
from nightlab.evidence.peaks import TEST
from nightlab.evidence.table import Table, Where
from nightlab.experiments.predictions import Below, Diffuse, Greater, Hypothesis, Peak, SamePeak, Trend


@dataclass(frozen=True)
class Verdict:
    """What the data say about one hypothesis, with the numbers behind it and the groups of cells they rest on."""

    id: str
    statement: str
    kind: str
    dimension: str
    verdict: Outcome
    text: str
    numbers: Mapping[str, Any]
    groups: tuple[Where, ...]
    n: int
    planned: int
    stands: bool = True
    """Whether it is decided, or open, also among the other hypotheses of its plan (family.py)."""

    @property
    def decided(self) -> bool:
        """Whether the data decide the hypothesis, either way."""
        return self.verdict != "undecided"


def evaluate(hypothesis: Hypothesis, table: Table, test: float = TEST) -> Verdict:
    """The verdict on one hypothesis at the error of a test; what the data cannot answer is undecided, with the reason.

    The numbers in its text are those of a test at 5 %, whatever decided it.
    """
    found = _evaluated(hypothesis, table, test)
    if test == TEST or not found.decided:
        return found
    return replace(_evaluated(hypothesis, table, TEST), verdict=found.verdict)


def _evaluated(hypothesis: Hypothesis, table: Table, test: float) -> Verdict:
    prediction = hypothesis.prediction
    try:
        finding = _find(hypothesis, table, test / table.design.looks)
    except QueryError as problem:
        finding = outcomes.undecided(f"not evaluated: {problem.what}")
    scored = [_scored(table, prediction.dimension, group) for group in finding.groups]
    return Verdict(
        hypothesis.id,
        hypothesis.statement,
        prediction.kind,
        prediction.dimension,
        finding.outcome,
        finding.text,
        finding.numbers,
        finding.groups,
        sum(n for n, _ in scored),
        sum(planned for _, planned in scored),
    )


def _find(hypothesis: Hypothesis, table: Table, test: float) -> Finding:
    match hypothesis.prediction:
        case Peak() as prediction:
            return outcomes.peak(prediction, table, test)
        case Diffuse() as prediction:
            return outcomes.diffuse(prediction, table, test)
        case Greater() as prediction:
            return outcomes.greater(prediction, table, test)
        case Below() as prediction:
            return outcomes.below(prediction, table, test)
        case SamePeak() as prediction:
            return outcomes.same_peak(prediction, table, test)
        case Trend() as prediction:
            return outcomes.trend(prediction, table, test)


def _scored(table: Table, dimension: str, group: Where) -> tuple[int, int]:
    if dimension not in table.dimensions:
        return 0, int(table.mask(group).sum())
    chosen = table.dimension(dimension)[table.mask(group)]
    return int((chosen == chosen).sum()), len(chosen)

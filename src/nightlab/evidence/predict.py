"""Hypotheses against the data: supported, contradicted or undecided, by the frozen prediction and its bounds alone.

peak       supported: the expected range is the decided peak (the one-sided 95 % bound of its paired difference to every
           other range lies above zero). contradicted: it is ruled out (see peaks.py).
diffuse    supported: every pairwise difference of ranges is at most `max_spread`, and every range lies above the
           reference by at least `by`, each by its bound. contradicted: one of these certainly fails, at a level shared
           between them.
greater    supported: left minus right is at least `by`, by its bound, in every level of `each`.
           contradicted: in some level it is less than `by`, at a level shared between the levels.
below      supported: the mean is less than `than`, by its bound. contradicted: it is at least that.
same_peak  supported: one and the same range is the decided peak of every model. contradicted: no range is left that
           could be the peak of all of them.
trend      supported: every step from a range to the next goes the predicted way. contradicted: some step goes the other
           way, at a level shared between the steps.

Everything else is undecided, and so is a comparison in which a group has fewer than 3 scored answers or 3 prompts. Each
prediction is tested at 5 %, of an adaptive plan shared between its looks. The hypotheses are one family: family.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nightlab.evidence.design import QueryError
from nightlab.evidence.peaks import TEST, Peak, find_peak, find_spread, shared_level
from nightlab.evidence.stats import Draws, Estimate, number
from nightlab.evidence.table import Table, Where
from nightlab.evidence.trends import find_trend
from nightlab.experiments.predictions import Below, Diffuse, Factor, Greater, Hypothesis, SamePeak
from nightlab.experiments.predictions import Peak as PeakPrediction
from nightlab.experiments.predictions import Trend as TrendPrediction

Outcome = Literal["supported", "contradicted", "undecided"]


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


@dataclass(frozen=True)
class _Finding:
    """An outcome on the way to a verdict."""

    outcome: Outcome
    text: str
    numbers: Mapping[str, Any]
    groups: tuple[Where, ...]


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
        finding = _undecided(f"not evaluated: {problem.what}")
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


def _find(hypothesis: Hypothesis, table: Table, test: float) -> _Finding:
    match hypothesis.prediction:
        case PeakPrediction() as prediction:
            return _peak(prediction, table, test)
        case Diffuse() as prediction:
            return _diffuse(prediction, table, test)
        case Greater() as prediction:
            return _greater(prediction, table, test)
        case Below() as prediction:
            return _below(prediction, table, test)
        case SamePeak() as prediction:
            return _same_peak(prediction, table, test)
        case TrendPrediction() as prediction:
            return _trend(prediction, table, test)


def _scored(table: Table, dimension: str, group: Where) -> tuple[int, int]:
    if dimension not in table.dimensions:
        return 0, int(table.mask(group).sum())
    chosen = table.dimension(dimension)[table.mask(group)]
    return int((chosen == chosen).sum()), len(chosen)


def _undecided(text: str, groups: Sequence[Where] = ()) -> _Finding:
    return _Finding("undecided", text, {}, tuple(groups))


def range_groups(model: str, ranges: Sequence[str]) -> list[Where]:
    """One group of cells per range, in one model."""
    return [{"model": model, "condition": name} for name in ranges]


def _peak(prediction: PeakPrediction, table: Table, test: float) -> _Finding:
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, ranges)
    draws = table.means(prediction.dimension, groups)
    peak = find_peak(draws, ranges, test)
    if peak is None or _too_few(draws):
        return _undecided(_little(draws, groups), groups)
    expected = peak.share(prediction.expect)
    outcome: Outcome = "undecided"
    if peak.decided and peak.best == prediction.expect:
        outcome = "supported"
    elif prediction.expect not in peak.possible:
        outcome = "contradicted"
    text = (
        f"largest mean in {peak.best}: {draws.estimate(ranges.index(peak.best))}; ahead of {peak.second} by "
        f"{peak.lead.at_least()}; {prediction.expect} is largest in {_percent(expected)} of resamples"
    )
    return _Finding(outcome, text, _peak_numbers(peak, expected), tuple(groups))


def _peak_numbers(peak: Peak, expected: float) -> dict[str, Any]:
    return {
        "peak": peak.best,
        "second": peak.second,
        "lead": peak.lead.numbers(),
        "possible_peaks": list(peak.possible),
        "share_of_resamples": round(expected, 4),
    }


def _diffuse(prediction: Diffuse, table: Table, test: float) -> _Finding:
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, [*ranges, prediction.above])
    draws = table.means(prediction.dimension, groups)
    if _too_few(draws):
        return _undecided(_little(draws, groups), groups)
    reference = len(ranges)
    spread = find_spread(draws.first(reference), prediction.max_spread, test)
    gaps = [draws.difference(index, reference, shared_level(test=test)) for index in range(reference)]
    strict = [draws.difference(index, reference, shared_level(reference, test)) for index in range(reference)]
    outcome: Outcome = "undecided"
    if spread.within <= prediction.max_spread and all(gap.low >= prediction.by for gap in gaps):
        outcome = "supported"
    elif spread.exceeds or any(gap.high < prediction.by for gap in strict):
        outcome = "contradicted"
    least = min(range(reference), key=lambda index: gaps[index].value)
    text = (
        f"means of the ranges differ by {spread.estimate.at_most()}, allowed {number(prediction.max_spread)}; "
        f"the weakest, {ranges[least]}, is above {prediction.above} by {gaps[least].at_least()}, "
        f"asked {number(prediction.by)}"
    )
    numbers = {
        "spread": spread.estimate.numbers(),
        "least_range": ranges[least],
        "least_gap": gaps[least].numbers(),
    }
    return _Finding(outcome, text, numbers, tuple(groups))


def _greater(prediction: Greater, table: Table, test: float) -> _Finding:
    levels = table.design.levels[prediction.each] if prediction.each else (None,)
    parts: list[tuple[str, Estimate, Estimate]] = []
    groups: list[Where] = []
    for level in levels:
        pair = [_joined(prediction.left, prediction.each, level), _joined(prediction.right, prediction.each, level)]
        draws = table.means(prediction.dimension, pair)
        groups += pair
        if _too_few(draws):
            return _undecided(_little(draws, pair), groups)
        parts.append(
            (
                str(level or ""),
                draws.difference(0, 1, shared_level(test=test)),
                draws.difference(0, 1, shared_level(len(levels), test)),
            )
        )
    outcome: Outcome = "undecided"
    if all(plain.low >= prediction.by for _, plain, _ in parts):
        outcome = "supported"
    elif any(strict.high < prediction.by for _, _, strict in parts):
        outcome = "contradicted"
    said = "; ".join(f"{name + ': ' if name else ''}{plain.at_least()}" for name, plain, _ in parts)
    numbers = {"differences": {name or "all": plain.numbers() for name, plain, _ in parts}, "by": prediction.by}
    return _Finding(outcome, f"difference {said}; asked {number(prediction.by)}", numbers, tuple(groups))


def _joined(where: Mapping[Factor, str], each: Factor | None = None, level: object = None) -> Where:
    """A selection of cells, at one level of a further factor if one is named."""
    named: dict[str, object] = {str(factor): name for factor, name in where.items()}
    return named if each is None else {**named, each: level}


def _below(prediction: Below, table: Table, test: float) -> _Finding:
    group = _joined(prediction.where)
    draws = table.means(prediction.dimension, [group])
    if _too_few(draws):
        return _undecided(_little(draws, [group]), [group])
    mean = draws.estimate(0, shared_level(test=test))
    outcome: Outcome = "undecided"
    if mean.high < prediction.than:
        outcome = "supported"
    elif mean.low >= prediction.than:
        outcome = "contradicted"
    text = f"mean {mean.at_most()}; asked below {number(prediction.than)}"
    return _Finding(outcome, text, {"mean": mean.numbers(), "than": prediction.than}, (group,))


def _same_peak(prediction: SamePeak, table: Table, test: float) -> _Finding:
    ranges = prediction.among or list(table.design.ranges)
    peaks: dict[str, Peak] = {}
    groups: list[Where] = []
    for model in prediction.models:
        own = range_groups(model, ranges)
        draws = table.means(prediction.dimension, own)
        groups += own
        peak = find_peak(draws, ranges, test)
        if peak is None or _too_few(draws):
            return _undecided(_little(draws, own), groups)
        peaks[model] = peak
    shared = [name for name in ranges if all(name in peak.possible for peak in peaks.values())]
    outcome: Outcome = "undecided"
    if all(peak.decided for peak in peaks.values()) and len({peak.best for peak in peaks.values()}) == 1:
        outcome = "supported"
    elif not shared:
        outcome = "contradicted"
    text = "; ".join(
        f"{model}: {peak.best}, not ruled out: {', '.join(peak.possible)}" for model, peak in peaks.items()
    )
    numbers = {"peaks": {model: peak.best for model, peak in peaks.items()}, "possible_in_all": shared}
    return _Finding(outcome, f"largest means in {text}", numbers, tuple(groups))


def _trend(prediction: TrendPrediction, table: Table, test: float) -> _Finding:
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, ranges)
    draws = table.means(prediction.dimension, groups)
    trend = find_trend(draws, test)
    if trend is None or _too_few(draws):
        return _undecided(_little(draws, groups), groups)
    outcome: Outcome = "undecided"
    if trend.proven == prediction.direction:
        outcome = "supported"
    elif prediction.direction in trend.ruled_out:
        outcome = "contradicted"
    up = prediction.direction == "increasing"
    worst = (min if up else max)(range(len(trend.steps)), key=lambda step: trend.steps[step].value)
    step = trend.steps[worst]
    text = (
        f"from {ranges[worst]} to {ranges[worst + 1]} the mean changes by {step.at_least() if up else step.at_most()}; "
        f"{trend.slope.interval_text()} per range in all"
    )
    return _Finding(outcome, text, {"slope": trend.slope.numbers(), "worst_step": step.numbers()}, tuple(groups))


def _too_few(draws: Draws) -> bool:
    return any(not draws.estimate(group).has_interval for group in range(len(draws.means)))


def _little(draws: Draws, groups: Sequence[Where]) -> str:
    thin = next(index for index in range(len(groups)) if not draws.estimate(index).has_interval)
    name = ", ".join(str(level) for level in groups[thin].values())
    return f"too few scored answers to decide: {name} has n={draws.n[thin]} of {draws.planned[thin]}"


def _percent(share: float) -> str:
    return "no" if share != share else f"{number(100 * share)} %"

"""What the data say to each kind of prediction: the outcome, the numbers behind it, and the text that gives them.

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

Everything else is undecided, and so is a comparison in which a group has fewer than 3 scored answers or 3 prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nightlab.evidence.peaks import Peak, find_peak, find_spread, shared_level
from nightlab.evidence.stats import Draws, Estimate, number
from nightlab.evidence.table import Table, Where
from nightlab.evidence.trends import find_trend
from nightlab.experiments.predictions import Below, Diffuse, Factor, Greater, SamePeak
from nightlab.experiments.predictions import Peak as PeakPrediction
from nightlab.experiments.predictions import Trend as TrendPrediction

Outcome = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Finding:
    """An outcome with the text and numbers behind it, and the groups of cells that it rests on."""

    outcome: Outcome
    text: str
    numbers: Mapping[str, Any]
    groups: tuple[Where, ...]


def undecided(text: str, groups: Sequence[Where] = ()) -> Finding:
    """No outcome, with the reason."""
    return Finding("undecided", text, {}, tuple(groups))


def range_groups(model: str, ranges: Sequence[str]) -> list[Where]:
    """One group of cells per range, in one model."""
    return [{"model": model, "condition": name} for name in ranges]


def peak(prediction: PeakPrediction, table: Table, test: float) -> Finding:
    """Whether the expected range is the decided peak, or is ruled out."""
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, ranges)
    draws = table.means(prediction.dimension, groups)
    peak = find_peak(draws, ranges, test)
    if peak is None or _too_few(draws):
        return undecided(_little(draws, groups), groups)
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
    return Finding(outcome, text, _peak_numbers(peak, expected), tuple(groups))


def _peak_numbers(peak: Peak, expected: float) -> dict[str, Any]:
    return {
        "peak": peak.best,
        "second": peak.second,
        "lead": peak.lead.numbers(),
        "possible_peaks": list(peak.possible),
        "share_of_resamples": round(expected, 4),
    }


def diffuse(prediction: Diffuse, table: Table, test: float) -> Finding:
    """Whether the ranges lie close together and above the reference."""
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, [*ranges, prediction.above])
    draws = table.means(prediction.dimension, groups)
    if _too_few(draws):
        return undecided(_little(draws, groups), groups)
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
    return Finding(outcome, text, numbers, tuple(groups))


def greater(prediction: Greater, table: Table, test: float) -> Finding:
    """Whether left exceeds right by so much, in every level."""
    levels = table.design.levels[prediction.each] if prediction.each else (None,)
    parts: list[tuple[str, Estimate, Estimate]] = []
    groups: list[Where] = []
    for level in levels:
        pair = [_joined(prediction.left, prediction.each, level), _joined(prediction.right, prediction.each, level)]
        draws = table.means(prediction.dimension, pair)
        groups += pair
        if _too_few(draws):
            return undecided(_little(draws, pair), groups)
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
    return Finding(outcome, f"difference {said}; asked {number(prediction.by)}", numbers, tuple(groups))


def _joined(where: Mapping[Factor, str], each: Factor | None = None, level: object = None) -> Where:
    """A selection of cells, at one level of a further factor if one is named."""
    named: dict[str, object] = {str(factor): name for factor, name in where.items()}
    return named if each is None else {**named, each: level}


def below(prediction: Below, table: Table, test: float) -> Finding:
    """Whether a mean is below a value."""
    group = _joined(prediction.where)
    draws = table.means(prediction.dimension, [group])
    if _too_few(draws):
        return undecided(_little(draws, [group]), [group])
    mean = draws.estimate(0, shared_level(test=test))
    outcome: Outcome = "undecided"
    if mean.high < prediction.than:
        outcome = "supported"
    elif mean.low >= prediction.than:
        outcome = "contradicted"
    text = f"mean {mean.at_most()}; asked below {number(prediction.than)}"
    return Finding(outcome, text, {"mean": mean.numbers(), "than": prediction.than}, (group,))


def same_peak(prediction: SamePeak, table: Table, test: float) -> Finding:
    """Whether one range is the decided peak of every model, or none can be."""
    ranges = prediction.among or list(table.design.ranges)
    peaks: dict[str, Peak] = {}
    groups: list[Where] = []
    for model in prediction.models:
        own = range_groups(model, ranges)
        draws = table.means(prediction.dimension, own)
        groups += own
        peak = find_peak(draws, ranges, test)
        if peak is None or _too_few(draws):
            return undecided(_little(draws, own), groups)
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
    return Finding(outcome, f"largest means in {text}", numbers, tuple(groups))


def trend(prediction: TrendPrediction, table: Table, test: float) -> Finding:
    """Whether every step goes the predicted way, or one goes the other."""
    ranges = prediction.among or list(table.design.ranges)
    groups = range_groups(prediction.model, ranges)
    draws = table.means(prediction.dimension, groups)
    trend = find_trend(draws, test)
    if trend is None or _too_few(draws):
        return undecided(_little(draws, groups), groups)
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
    return Finding(outcome, text, {"slope": trend.slope.numbers(), "worst_step": step.numbers()}, tuple(groups))


def _too_few(draws: Draws) -> bool:
    return any(not draws.estimate(group).has_interval for group in range(len(draws.means)))


def _little(draws: Draws, groups: Sequence[Where]) -> str:
    thin = next(index for index in range(len(groups)) if not draws.estimate(index).has_interval)
    name = ", ".join(str(level) for level in groups[thin].values())
    return f"too few scored answers to decide: {name} has n={draws.n[thin]} of {draws.planned[thin]}"


def _percent(share: float) -> str:
    return "no" if share != share else f"{number(100 * share)} %"

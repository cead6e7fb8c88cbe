"""The sentences of claims: templates whose every number is a query, for each kind of prediction and each outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nightlab.evidence.predict import Verdict
from nightlab.experiments.predictions import Below, Diffuse, Greater, Hypothesis, Peak, SamePeak, Trend


def ask(query: str, *arguments: object, **named: object) -> str:
    """A query as it stands in a template: `{{ mean("sarcasm", model="llama") }}`; None is left out."""
    given = [json.dumps(value) for value in arguments]
    given += [f"{name}={json.dumps(value)}" for name, value in named.items() if value is not None]
    return f"{{{{ {query}({', '.join(given)}) }}}}"


def template(hypothesis: Hypothesis, verdict: Verdict) -> str:
    """The template of the claim that a decided hypothesis makes."""
    holds = verdict.verdict == "supported"
    match hypothesis.prediction:
        case Peak() as prediction:
            return _peak(prediction, verdict, holds)
        case Diffuse() as prediction:
            return _diffuse(prediction, holds)
        case Greater() as prediction:
            return _greater(prediction, verdict, holds)
        case Below() as prediction:
            return _below(prediction, holds)
        case SamePeak() as prediction:
            return _same_peak(prediction, holds)
        case Trend() as prediction:
            return _trend(prediction, holds)


def _peak(prediction: Peak, verdict: Verdict, holds: bool) -> str:
    dimension, model, among = prediction.dimension, prediction.model, prediction.among
    best = verdict.numbers["peak"]
    mean = ask("mean", dimension, model=model, condition=best)
    top = ask("peak", dimension, model, among=among)
    start = f"In {ask('level', model)}, {ask('level', dimension)} is highest in {top}: {mean}"
    if holds:
        second, lead = ask("runner_up", dimension, model, among=among), ask("lead", dimension, model, among=among)
        share = ask("share", dimension, model, best, among=among)
        return f"{start}; {second} is next, lower by {lead}. It is the largest in {share} of resamples."
    left, right = {"model": model, "condition": best}, {"model": model, "condition": prediction.expect}
    difference = ask("least", dimension, left, right)
    return f"{start}, not in {ask('level', prediction.expect)} as predicted: the difference is {difference}."


def _diffuse(prediction: Diffuse, holds: bool) -> str:
    dimension, model, among = prediction.dimension, prediction.model, prediction.among
    spread = ask("spread", dimension, model, among=among)
    weakest = ask("weakest", dimension, model, prediction.above, among=among)
    gap = ask("gap", dimension, model, prediction.above, among=among)
    above = ask("level", prediction.above)
    word = "spread over all ranges" if holds else "not spread over all ranges as predicted"
    return (
        f"In {ask('level', model)}, {ask('level', dimension)} is {word}: "
        f"the means of the ranges differ by {spread}, and the weakest, {weakest}, is above {above} by {gap}."
    )


def _greater(prediction: Greater, verdict: Verdict, holds: bool) -> str:
    parts = []
    for left, right in zip(verdict.groups[::2], verdict.groups[1::2], strict=True):
        difference = ask("least" if holds else "difference", prediction.dimension, dict(left), dict(right))
        name = f"{ask('level', left[prediction.each])}: " if prediction.each else ""
        parts.append(f"{name}{difference}")
    word = "exceeds" if holds else "does not exceed"
    tail = "" if holds else " by as much as predicted"
    left_name, right_name = _levels(prediction.left), _levels(prediction.right)
    return f"{left_name} {word} {right_name} in {ask('level', prediction.dimension)}{tail}: {'; '.join(parts)}."


def _below(prediction: Below, holds: bool) -> str:
    mean = ask("mean", prediction.dimension, **prediction.where)
    word = "stays below" if holds else "does not stay below"
    where = _levels(prediction.where)
    return f"{ask('level', prediction.dimension)} {word} the predicted limit at {where}: {mean}."


def _same_peak(prediction: SamePeak, holds: bool) -> str:
    dimension, among = prediction.dimension, prediction.among
    peaks = [f"{ask('level', model)} in {ask('peak', dimension, model, among=among)}" for model in prediction.models]
    word = "peaks in one and the same range" if holds else "does not peak in one and the same range as predicted"
    return f"{ask('level', dimension)} {word}: {', '.join(peaks)}."


def _trend(prediction: Trend, holds: bool) -> str:
    dimension, model, among = prediction.dimension, prediction.model, prediction.among
    word = f"is {prediction.direction} from each range to the next" if holds else f"is not {prediction.direction} over"
    tail = "" if holds else " the ranges as predicted"
    slope = ask("slope", dimension, model, among=among)
    return f"In {ask('level', model)}, {ask('level', dimension)} {word}{tail}: it changes by {slope} per range."


def _levels(where: Mapping[Any, object]) -> str:
    return ", ".join(ask("level", level) for level in where.values())

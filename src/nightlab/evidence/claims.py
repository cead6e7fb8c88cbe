"""Claims: sentences that follow from decided hypotheses; every number in them is a query, and each says when it holds.

A claim is made only where its hypothesis is decided by answers that count: those of servers whose canary passed. Where
no canary is on record, none is made; an undecided hypothesis makes none either. Ids follow the plan's order (H3 makes
c3), so they stay when data are added; they are unique within an experiment and cited as `exp_001/c3` outside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.evidence.predict import Verdict
from nightlab.evidence.queries import Queries
from nightlab.evidence.sandbox import render
from nightlab.evidence.table import Table
from nightlab.evidence.treatment import untouched
from nightlab.experiments.predictions import Below, Diffuse, Greater, Hypothesis, Peak, SamePeak
from nightlab.files import write_atomic

FILE = "claims.yaml"


@dataclass(frozen=True)
class Claim:
    """A sentence with the queries behind it and what it is about."""

    id: str
    experiment: str
    hypothesis: str
    verdict: str
    template: str
    sentence: str
    holds: str
    scope: Mapping[str, Any]
    n: int
    planned: int
    confirmatory: bool

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries in the template."""
        return tuple(part.strip() for part in re.findall(r"\{\{(.*?)\}\}", self.template))

    def document(self) -> dict[str, Any]:
        """The claim as claims.yaml holds it."""
        return {
            "id": self.id,
            "hypothesis": self.hypothesis,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "template": self.template,
            "queries": list(self.queries),
            "holds": self.holds,
            "scope": dict(self.scope),
            "n": self.n,
            "planned": self.planned,
            "confirmatory": self.confirmatory,
        }


def make_claims(table: Table, verdicts: Sequence[Verdict], queries: Queries) -> tuple[Claim, ...]:
    """One claim for each hypothesis that no reason keeps from making one."""
    claims = []
    for number, verdict in enumerate(verdicts, 1):
        if why_not(table, verdict) is None:
            template = _template(table.design.hypothesis(verdict.id), verdict)
            sentence = render(template, queries.vocabulary(), f"claim c{number}")
            claims.append(_claim(f"c{number}", table, verdict, template, sentence))
    return tuple(claims)


def withheld(table: Table, verdicts: Sequence[Verdict]) -> list[str]:
    """Why hypotheses make no claim, one text for each."""
    reasons = [(verdict.id, why_not(table, verdict)) for verdict in verdicts]
    return [f"{name} makes no claim: {reason}" for name, reason in reasons if reason is not None]


def why_not(table: Table, verdict: Verdict) -> str | None:
    """Why a hypothesis may make no claim; None where it may."""
    if not verdict.decided:
        return f"undecided, {verdict.text}"
    if not table.proven:
        return "no canary is on record for the servers that answered"
    models = _scope(table, verdict)["models"]
    unchanged = [model for model in models if untouched(table, model)]
    return f"no treated answer of {', '.join(unchanged)} differs from the untreated one" if unchanged else None


def write_claims(folder: Path, claims: Sequence[Claim]) -> Path:
    """Write claims.yaml; an experiment without claims has an empty list."""
    import yaml

    path = folder / FILE
    document = {"claims": [claim.document() for claim in claims]}
    write_atomic(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
    return path


def _claim(name: str, table: Table, verdict: Verdict, template: str, sentence: str) -> Claim:
    return Claim(
        name,
        table.design.name,
        verdict.id,
        verdict.verdict,
        template,
        sentence,
        f'verdict("{verdict.id}") == "{verdict.verdict}"',
        _scope(table, verdict),
        verdict.n,
        verdict.planned,
        confirmatory=True,
    )


def _scope(table: Table, verdict: Verdict) -> dict[str, Any]:
    """Which levels the claim rests on."""
    mask = table.mask({}) & False
    for group in verdict.groups:
        mask |= table.mask(group)
    return {
        "dimension": verdict.dimension,
        "models": list(dict.fromkeys(table.columns["model"][mask])),
        "conditions": list(dict.fromkeys(table.columns["condition"][mask])),
        "prompts": len(dict.fromkeys(table.columns["prompt"][mask])),
    }


def ask(query: str, *arguments: object, **named: object) -> str:
    """A query as it stands in a template: `{{ mean("sarcasm", model="llama") }}`; None is left out."""
    given = [json.dumps(value) for value in arguments]
    given += [f"{name}={json.dumps(value)}" for name, value in named.items() if value is not None]
    return f"{{{{ {query}({', '.join(given)}) }}}}"


def _template(hypothesis: Hypothesis, verdict: Verdict) -> str:
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


def _levels(where: Mapping[Any, object]) -> str:
    return ", ".join(ask("level", level) for level in where.values())

"""Claims: sentences that follow from decided hypotheses; every number in them is a query, and each says when it holds.

A claim is made only where its hypothesis is decided by answers that count: those of servers whose canary passed. Where
no canary is on record, none is made; an undecided hypothesis makes none either. Ids follow the plan's order (H3 makes
c3), so they stay when data are added; they are unique within an experiment and cited as `exp_001/c3` outside it. Each
says what it asserts as bounds of quantities, so that code can compare it with the other claims of a lab.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.evidence.assertions import Against, Assertion, assertions, prediction_hash
from nightlab.evidence.predict import Verdict
from nightlab.evidence.queries import Queries
from nightlab.evidence.sandbox import render
from nightlab.evidence.sentences import template
from nightlab.evidence.table import Table
from nightlab.evidence.treatment import untouched
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
    stands: bool = True
    asserts: tuple[Assertion, ...] = ()
    predicted: str = ""
    against: tuple[Against, ...] = ()

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
            "stands_in_family": self.stands,
            "predicted": self.predicted,
            "asserts": [assertion.document() for assertion in self.asserts],
            "against": [other.document() for other in self.against],
        }


def make_claims(table: Table, verdicts: Sequence[Verdict], queries: Queries) -> tuple[Claim, ...]:
    """One claim for each hypothesis that no reason keeps from making one."""
    claims = []
    for number, verdict in enumerate(verdicts, 1):
        if why_not(table, verdict) is None:
            text = template(table.design.hypothesis(verdict.id), verdict)
            sentence = render(text, queries.vocabulary(), f"claim c{number}")
            claims.append(_claim(f"c{number}", table, verdict, text, sentence))
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


def _claim(name: str, table: Table, verdict: Verdict, text: str, sentence: str) -> Claim:
    return Claim(
        name,
        table.design.name,
        verdict.id,
        verdict.verdict,
        text,
        sentence,
        f'verdict("{verdict.id}") == "{verdict.verdict}"',
        _scope(table, verdict),
        verdict.n,
        verdict.planned,
        confirmatory=True,
        stands=verdict.stands,
        asserts=assertions(table, verdict),
        predicted=prediction_hash(table.design, table.design.hypothesis(verdict.id)),
    )


def _scope(table: Table, verdict: Verdict) -> dict[str, Any]:
    """Which levels the claim rests on."""
    mask = table.mask({}) & False
    for group in verdict.groups:
        mask |= table.mask(group)
    models = list(dict.fromkeys(table.columns["model"][mask]))
    return {
        "dimension": verdict.dimension,
        "models": models,
        "model_ids": [table.design.model_id(name) for name in models],
        "conditions": list(dict.fromkeys(table.columns["condition"][mask])),
        "prompts": len(dict.fromkeys(table.columns["prompt"][mask])),
    }

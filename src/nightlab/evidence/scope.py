"""What a text may speak of: the names of one experiment or of a whole lab, and the claims that back its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nightlab.evidence.design import FACTORS, Design

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis


@dataclass(frozen=True)
class Scope:
    """Names by what they name; `claims` are the kinds of the predictions behind the claims, by id."""

    names: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    conditions: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    hypotheses: frozenset[str] = frozenset()
    figures: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)


def scope_of(analysis: Analysis) -> Scope:
    """What the report of an experiment may speak of."""
    claims = {claim.id: analysis.table.design.hypothesis(claim.hypothesis).prediction.kind for claim in analysis.claims}
    return _scope(
        analysis.table.design, analysis.table.dimensions, claims, (figure.name for figure in analysis.figures)
    )


def _scope(design: Design, dimensions: Iterable[str], claims: Mapping[str, str], figures: Iterable[str]) -> Scope:
    levels = {factor: [str(level) for level in design.levels[factor]] for factor in FACTORS if factor != "replicate"}
    every = [name for names in levels.values() for name in names]
    ids = [hypothesis.id for hypothesis in design.hypotheses]
    dimensions = list(dimensions)
    named = [*every, *ids, *claims, *dimensions, *(design.model_id(model) for model in design.models), design.name]
    return Scope(
        frozenset(name for name in named if any(letter.isalpha() for letter in name)),
        frozenset([*levels["model"], *levels["condition"], *dimensions]),
        frozenset(levels["condition"]),
        frozenset(levels["prompt"]),
        frozenset(levels["category"]),
        frozenset(ids),
        frozenset(figures),
        dict(claims),
    )

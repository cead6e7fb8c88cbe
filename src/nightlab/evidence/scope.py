"""What a text may speak of: the names of one experiment or of a whole lab, and the claims that back its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nightlab.evidence.design import FACTORS, Design

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis
    from nightlab.evidence.predict import Verdict
    from nightlab.evidence.table import Table
    from nightlab.experiments.predictions import Prediction

SUBJECTS = tuple(factor for factor in FACTORS if factor != "replicate")


@dataclass(frozen=True)
class Cited:
    """What citing a claim backs: words of some kinds (words.py), about some names; None is about anything."""

    kinds: frozenset[str]
    about: frozenset[str] | None = None


@dataclass(frozen=True)
class Scope:
    """Names by what they name; what each claim backs, and what each hypothesis would by its verdict."""

    names: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    conditions: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    figures: frozenset[str] = frozenset()
    hypotheses: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    claims: Mapping[str, Cited] = field(default_factory=dict)
    experiment: str = ""

    @property
    def subjects(self) -> frozenset[str]:
        """What a claim is about or not: models, conditions, dimensions, prompts and their categories."""
        return self.topics | self.prompts | self.categories

    @property
    def plain(self) -> frozenset[str]:
        """Names that may be words of the language, too: of conditions, prompts and their categories."""
        return self.conditions | self.prompts | self.categories

    def is_own(self, experiment: str) -> bool:
        """Whether a name or short name (exp_001) is this experiment's."""
        return self.experiment == experiment or self.experiment.startswith(f"{experiment}_")


def backs(prediction: Prediction, verdict: str) -> frozenset[str]:
    """The kinds of words that a decided hypothesis backs."""
    own = {prediction.kind, *([f"trend {prediction.direction}"] if prediction.kind == "trend" else [])}
    if verdict == "supported":
        return frozenset(own)
    elsewhere = {"peak"} if prediction.kind == "peak" else set()
    return frozenset({f"not {kind}" for kind in own} | elsewhere)


def scope_of(analysis: Analysis) -> Scope:
    """What the report of an experiment may speak of."""
    design = analysis.table.design
    about = {verdict.id: _about(analysis.table, verdict) for verdict in analysis.verdicts}
    claims = {
        claim.id: Cited(backs(design.hypothesis(claim.hypothesis).prediction, claim.verdict), about[claim.hypothesis])
        for claim in analysis.claims
    }
    return _scope(design, analysis.table.dimensions, claims, (figure.name for figure in analysis.figures))


def _about(table: Table, verdict: Verdict) -> frozenset[str]:
    """The names of all that a verdict rests on: its dimension, and the levels of its groups of cells."""
    mask = table.mask({}) & False
    for group in verdict.groups:
        mask |= table.mask(group)
    levels = (name for factor in SUBJECTS for name in table.columns[factor][mask])
    return frozenset([verdict.dimension, *map(str, levels)])


def _scope(design: Design, dimensions: Iterable[str], claims: Mapping[str, Cited], figures: Iterable[str]) -> Scope:
    levels = {factor: [str(level) for level in design.levels[factor]] for factor in SUBJECTS}
    every = [name for names in levels.values() for name in names]
    hypotheses = {
        h.id: {verdict: backs(h.prediction, verdict) for verdict in ("supported", "contradicted")}
        for h in design.hypotheses
    }
    dimensions = list(dimensions)
    models = [design.model_id(model) for model in design.models]
    named = [*every, *hypotheses, *claims, *dimensions, *models, design.name]
    return Scope(
        names=frozenset(name for name in named if any(letter.isalpha() for letter in name)),
        topics=frozenset([*levels["model"], *levels["condition"], *dimensions]),
        conditions=frozenset(levels["condition"]),
        prompts=frozenset(levels["prompt"]),
        categories=frozenset(levels["category"]),
        figures=frozenset(figures),
        hypotheses=hypotheses,
        claims=dict(claims),
        experiment=design.name,
    )

"""The seam to whatever scores packets: many at a time, its cost bounded before the call and known after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nightlab.budget import Amounts
from nightlab.errors import ContractBroken
from nightlab.experiments.rubric import Rubric
from nightlab.judging.packet import Packet


@dataclass(frozen=True)
class Verdict:
    """The scores of one packet by dimension, None where there is none (never 0), and the judge's notes."""

    scores: Mapping[str, float | None]
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Verdicts by packet id, and what they cost; a packet without a verdict stays unjudged."""

    verdicts: Mapping[str, Verdict]
    cost: Amounts = field(default_factory=Amounts)


@dataclass(frozen=True)
class Estimate:
    """The most a call may cost; `usd=None` is an unknown price, which stops a judging before it starts."""

    usd: float | None = 0.0
    tokens: int = 0

    @property
    def free(self) -> bool:
        """Whether nothing has to be reserved."""
        return self.usd == 0 and self.tokens == 0


class Judge(Protocol):
    """What scores: a name (it stands in every judgment), how many packets it takes in one call, and the call."""

    name: str
    batch: int

    def estimate(self, packets: Sequence[Packet], rubric: Rubric) -> Estimate:
        """The most that scoring these packets may cost."""
        ...

    async def score(self, packets: Sequence[Packet], rubric: Rubric, *, repeat: int) -> Scored:
        """Score packets by a rubric. Raises NightlabError where none of them can be scored."""
        ...


def checked(verdict: Verdict, rubric: Rubric) -> Verdict:
    """A verdict with one entry for each dimension: absent and out-of-range scores become None, and a note says so.

    Raises ContractBroken for a dimension that the rubric does not have.
    """
    unknown = [name for name in verdict.scores if name not in rubric.dimensions]
    if unknown:
        raise ContractBroken(f"a verdict scores {unknown[0]!r}, which is no dimension of the rubric", where=rubric.path)
    scores: dict[str, float | None] = {}
    refused: dict[str, object] = {}
    for name, dimension in rubric.dimensions.items():
        score = verdict.scores.get(name)
        good = score is None or (math.isfinite(score) and dimension.holds(score))
        scores[name] = score if good else None
        if not good:
            refused[name] = str(score)
    notes = {**verdict.notes, **({"out_of_range": refused} if refused else {})}
    return Verdict(scores, notes)

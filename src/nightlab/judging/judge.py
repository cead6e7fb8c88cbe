"""The seam to whatever scores packets: many at a time, its cost bounded before the call and known after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from nightlab.budget import Amounts
from nightlab.errors import ContractBroken
from nightlab.experiments.rubric import Rubric
from nightlab.judging.log import BatchLog
from nightlab.judging.packet import Packet


@dataclass(frozen=True)
class Verdict:
    """The scores of one packet by dimension, None where there is none (never 0), and the judge's notes.

    `request` names the request whose exact bytes showed the packet, where one was sent, and `position_in_request`
    is the packet's place among those that it showed, from 0.
    """

    scores: Mapping[str, float | None]
    notes: Mapping[str, object] = field(default_factory=dict)
    request: str = ""
    position_in_request: int | None = None


@dataclass(frozen=True)
class Scored:
    """Verdicts by packet id, and what they cost; a packet without a verdict stays unjudged.

    `refused` and `repaired` count packets: refused by the model, and answered only after its answer was sent back.
    """

    verdicts: Mapping[str, Verdict]
    cost: Amounts = field(default_factory=Amounts)
    refused: int = 0
    repaired: int = 0


@dataclass(frozen=True)
class Estimate:
    """The most a call may cost; `usd=None` is an unknown price, which stops a judging before it starts."""

    usd: float | None = 0.0
    tokens: int = 0

    @property
    def free(self) -> bool:
        """Whether nothing has to be reserved."""
        return self.usd == 0 and self.tokens == 0

    def __add__(self, other: Estimate) -> Estimate:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Estimate(usd, self.tokens + other.tokens)


Afford = Callable[[Estimate], bool]
"""Sets more money aside, for a round of repairs; whether there is enough."""


class Judge(Protocol):
    """What scores: a name (it stands in every judgment), how many packets it takes in one batch, and the call.

    `audited`: known items are mixed into its batches, and a batch that scores them wrongly is rejected.
    `protocol`: the hash of everything but the rubric and the packets that its scores depend on; empty for nothing.
    """

    name: str
    batch: int
    audited: bool
    protocol: str

    def estimate(self, packets: Sequence[Packet], rubric: Rubric) -> Estimate:
        """The most that scoring these packets may cost."""
        ...

    def instructions(self, rubric: Rubric) -> bytes:
        """The exact bytes that a judge gets besides the packets."""
        ...

    async def score(
        self,
        packets: Sequence[Packet],
        rubric: Rubric,
        *,
        repeat: int,
        log: BatchLog | None = None,
        afford: Afford | None = None,
    ) -> Scored:
        """Score packets by a rubric; what `log` holds from an earlier life is used and not asked again.

        Raises NightlabError where none of them can be scored.
        """
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
    return replace(verdict, scores=scores, notes=notes)

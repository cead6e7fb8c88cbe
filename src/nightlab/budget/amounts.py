"""What a night may use, what something costs, and the clock by which its deadline counts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Amounts:
    """What something costs: US dollars, tokens, seconds of GPU time."""

    usd: float = 0.0
    tokens: int = 0
    gpu_seconds: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.usd + other.usd, self.tokens + other.tokens, self.gpu_seconds + other.gpu_seconds)


@dataclass(frozen=True)
class Limits:
    """The most a night may use; None is no limit. `deadline` is seconds since the epoch."""

    usd: float | None = None
    tokens: int | None = None
    gpu_seconds: float | None = None
    deadline: float | None = None


PARTS = ("orchestrator", "agents", "judges")


def part_of(who: str) -> str:
    """The part of a night that a spender belongs to: the agent that leads it, its judges, or the agents it asks."""
    return {"orchestrator": "orchestrator", "judge": "judges"}.get(who, "agents")


@dataclass(frozen=True)
class Entry:
    """One line of the ledger, folded: what was reserved, and what it cost once that is known."""

    key: str
    who: str
    reserved: Amounts
    cost: Amounts | None = None

    @property
    def counts(self) -> Amounts:
        """What this entry counts for: its cost, or all of its reservation while that is open."""
        return self.reserved if self.cost is None else self.cost


@dataclass(frozen=True)
class Clock:
    """The wall clock, which says when the deadline is and may be set back; and seconds that nobody can set."""

    wall: Callable[[], float] = lambda: time.time()
    elapsed: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)

    def over(self, deadline: float | None) -> float:
        """The elapsed time at which a deadline is past, whatever becomes of the wall clock."""
        return math.inf if deadline is None else self.elapsed() + deadline - self.wall()

    def left(self, deadline: float | None, over: float) -> float | None:
        """Seconds until the deadline by the clock that is first, at least 0; None where there is none."""
        return None if deadline is None else max(0.0, min(deadline - self.wall(), over - self.elapsed()))

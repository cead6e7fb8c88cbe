"""Does a pooled difference hold in each level of what it was pooled over?

A level reverses the pooled direction when its own difference certainly has the other sign (its one-sided 95 % bound).
When every level has the other sign, proven or not, it is Simpson's paradox (Simpson 1951, JRSS B 13(2)). Either makes a
pooled sentence misleading: a report must say so with the query `interaction`, or it is not compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nightlab.evidence.peaks import shared_level
from nightlab.evidence.stats import Estimate
from nightlab.evidence.table import Table

Where = Mapping[str, object]


@dataclass(frozen=True)
class Interaction:
    """A difference pooled over a factor, and the same within each level that has scores on both sides."""

    factor: str
    pooled: Estimate
    levels: Mapping[str, Estimate]

    @property
    def reversed(self) -> tuple[str, ...]:
        """The levels in which the pooled direction does not hold: certainly, or in all of them alike."""
        sign = 1 if self.pooled.value > 0 else -1
        against = [name for name, own in self.levels.items() if sign * own.value < 0]
        if against and len(against) == len(self.levels):
            return tuple(against)
        proven = (own.high if sign > 0 else -own.low for own in self.levels.values())
        return tuple(name for name, bound in zip(self.levels, proven, strict=True) if bound < 0)

    def __str__(self) -> str:
        """The check in words."""
        if not self.reversed:
            return f"in every {self.factor} the difference has the pooled direction, or cannot be told"
        shown = "; ".join(f"{name}: {self.levels[name]}" for name in self.reversed)
        return f"pooled over {self.factor} the difference is {self.pooled}; it is reversed in {shown}"


def find_interaction(
    table: Table, dimension: str, left: Where, right: Where, factor: str, over: Iterable[str]
) -> Interaction:
    """The difference of two selections pooled over a factor and within its levels. Raises QueryError."""
    declared = tuple(dict.fromkeys([*over, factor]))
    pooled = table.means(dimension, [left, right], declared).difference(0, 1)
    levels: dict[str, Estimate] = {}
    for level in table.design.levels[factor]:
        draws = table.means(dimension, [{**left, factor: level}, {**right, factor: level}], declared)
        if (draws.n > 0).all():
            levels[str(level)] = draws.difference(0, 1, shared_level())
    return Interaction(factor, pooled, levels)


def interactions(table: Table, dimension: str, left: Where, right: Where, over: Iterable[str]) -> list[Interaction]:
    """The check for every factor that a difference is pooled over, except prompts and replicates."""
    declared = tuple(over)
    factors = [factor for factor in declared if factor in ("model", "condition", "category")]
    varying = [factor for factor in factors if factor not in left and factor not in right]
    found = [find_interaction(table, dimension, left, right, factor, declared) for factor in varying]
    return [one for one in found if len(one.levels) > 1]

"""Whether means go one way over ordered ranges, and the place of each among the others.

A trend is monotonic when every step to the next range goes the same way by its one-sided 95 % bound: an intersection of
tests, so no correction is due (Berger 1982). It is ruled out when some step certainly goes the other way, at a level
shared between the steps (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nightlab.evidence.peaks import TEST, shared_level
from nightlab.evidence.stats import Draws, Estimate

Direction = Literal["increasing", "decreasing"]


@dataclass(frozen=True)
class Trend:
    """The change per step, and which direction every step proves or some step rules out.

    `steps` are the differences of neighbours, later minus earlier, with their one-sided bounds.
    """

    slope: Estimate
    steps: tuple[Estimate, ...]
    proven: Direction | None
    ruled_out: tuple[Direction, ...]


@dataclass(frozen=True)
class Rank:
    """The place of a group among others, 1 for the largest mean, and the places that resamples give it."""

    place: int
    low: int
    high: int
    of: int

    def __str__(self) -> str:
        return f"{self.place} of {self.of} [{self.low}, {self.high}]"


def find_trend(draws: Draws, test: float = TEST) -> Trend | None:
    """The trend over groups in their order; None where one has no data or there are fewer than two."""
    count = len(draws.means)
    if count < 2 or (draws.n == 0).any():
        return None
    neighbours = [(later, later - 1) for later in range(1, count)]
    steps = tuple(draws.difference(*pair, shared_level(test=test)) for pair in neighbours)
    strict = [draws.difference(*pair, shared_level(len(neighbours), test)) for pair in neighbours]
    proven: Direction | None = None
    if all(step.low > 0 for step in steps):
        proven = "increasing"
    elif all(step.high < 0 for step in steps):
        proven = "decreasing"
    against: list[Direction] = []
    if any(step.high < 0 for step in strict):
        against.append("increasing")
    if any(step.low > 0 for step in strict):
        against.append("decreasing")
    return Trend(draws.slope(), steps, proven, tuple(against))


def find_ranks(draws: Draws, names: Sequence[str], level: float = 0.95) -> dict[str, Rank] | None:
    """The place of each group by its mean, with the places that its resamples take; None where one has no data."""
    if (draws.n == 0).any():
        return None
    defined = draws.draws[~np.isnan(draws.draws).any(axis=1)]
    placed = _places(defined)
    tail = (1 - level) / 2
    low, high = np.quantile(placed, [tail, 1 - tail], axis=0, method="closest_observation")
    now = _places(draws.means[None, :])[0]
    return {
        name: Rank(int(now[group]), int(low[group]), int(high[group]), len(names)) for group, name in enumerate(names)
    }


def _places(means: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """1 for the largest of each row; equal ones share the better place."""
    return np.asarray((means[:, None, :] > means[:, :, None] + 1e-9).sum(axis=2) + 1)

"""Where a dimension peaks over the ranges of one model, and which ranges the data rule out as the peak.

Tests are one-sided at 5 %: predictions have a direction and are frozen. One range beats another when the one-sided 95 %
bound of their paired difference lies above zero. The best range is the decided peak when it beats every other one: an
intersection of tests, so no correction is due (Berger 1982, Technometrics 24(4)). A range is ruled out as the peak when
another one is the decided peak, or when another one beats it at a level shared between its rivals (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightlab.evidence.stats import Draws, Estimate

TEST = 0.05
"""The error of a one-sided test; its bound is that of a two-sided interval of 90 %."""


@dataclass(frozen=True)
class Peak:
    """The range with the largest mean, the next one, how sure the order is, and which ranges may still be the peak.

    `lead` is the difference of the two with its one-sided bound as `low`.
    `probability` is the share of resamples in which a range has the largest mean (ties shared), per range.
    """

    ranges: tuple[str, ...]
    best: str
    second: str
    lead: Estimate
    decided: bool
    possible: tuple[str, ...]
    probability: tuple[float, ...]

    def share(self, name: str) -> float:
        """The share of resamples in which a range has the largest mean."""
        return self.probability[self.ranges.index(name)]


def find_peak(draws: Draws, ranges: Sequence[str], test: float = TEST) -> Peak | None:
    """The peak over ranges, `draws` having one group per range; None where a range has no data."""
    if (draws.n == 0).any() or len(ranges) < 2:
        return None
    order = np.argsort(-draws.means, kind="stable")
    best, second = int(order[0]), int(order[1])
    decided = all(beats(draws, best, other, test) for other in range(len(ranges)) if other != best)
    return Peak(
        tuple(ranges),
        ranges[best],
        ranges[second],
        draws.difference(best, second, shared_level()),
        decided,
        (ranges[best],)
        if decided
        else tuple(name for index, name in enumerate(ranges) if not rivals(draws, index, test)),
        _probabilities(draws),
    )


def beats(draws: Draws, left: int, right: int, test: float = TEST) -> bool:
    """Whether the one-sided bound of left minus right lies above zero, at the error of the test."""
    difference = draws.difference(left, right, shared_level(test=test))
    return difference.has_interval and difference.low > 0


def rivals(draws: Draws, index: int, test: float = TEST) -> list[int]:
    """The ranges that beat one range, at a level shared between all of them."""
    others = [other for other in range(len(draws.means)) if other != index]
    return [other for other in others if beats(draws, other, index, test / len(others))]


def shared_level(tests: int = 1, test: float = TEST) -> float:
    """The level of the two-sided interval whose bounds test one side each, shared between tests (Bonferroni)."""
    return 1 - 2 * test / tests


def _probabilities(draws: Draws) -> tuple[float, ...]:
    defined = draws.draws[~np.isnan(draws.draws).any(axis=1)]
    if not len(defined):
        return tuple(math.nan for _ in draws.means)
    top = np.isclose(defined, defined.max(axis=1, keepdims=True), rtol=0, atol=1e-9)
    shares = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return tuple(float(share) for share in shares)


@dataclass(frozen=True)
class Spread:
    """Largest minus smallest mean over ranges; its bounds come from the intervals of all pairwise differences."""

    estimate: Estimate
    exceeds: bool

    @property
    def within(self) -> float:
        """The spread that the data allow at most."""
        return self.estimate.high


def find_spread(draws: Draws, limit: float, test: float = TEST) -> Spread:
    """The spread of group means, and whether some pair is proven to differ by more than `limit` (Bonferroni over
    pairs).

    The bounds are the largest lower and the largest upper bound of the pairwise differences: an equivalence test of
    each pair (Schuirmann 1987), free of the upward bias of a resampled maximum minus minimum.
    """
    count = len(draws.means)
    pairs = [(left, right) for left in range(count) for right in range(count) if left != right]
    found = [draws.difference(left, right, shared_level(test=test)) for left, right in pairs]
    strict = [draws.difference(left, right, shared_level(len(pairs), test)) for left, right in pairs]
    widest = max(found, key=lambda pair: pair.value)
    low, high = math.nan, math.nan
    if all(pair.has_interval for pair in found):
        low, high = max(0.0, *(pair.low for pair in found)), max(pair.high for pair in found)
    estimate = Estimate(
        widest.value, low, high, min(p.n for p in found), widest.planned, min(p.clusters for p in found)
    )
    return Spread(estimate, any(pair.has_interval and pair.low > limit for pair in strict))

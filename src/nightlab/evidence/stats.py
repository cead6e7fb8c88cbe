"""Means, differences and ratios with intervals from a cluster bootstrap over prompts; deterministic by seed.

Answers to one prompt are not independent (the same words are asked of every model and condition), so prompts are
resampled, not rows: the pairs cluster bootstrap of Cameron, Gelbach & Miller (2008), Review of Economics and Statistics
90(3); see also Field & Welsh (2007), JRSS B 69(3). intervals.py says how resamples become an interval. Groups are
resampled jointly, so differences between conditions are paired by prompt; a prompt that was asked of both groups and
scored in one alone is left out of their difference.
Limits: prompts are taken as exchangeable; below 3 prompts there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from nightlab.evidence.intervals import interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 2000
LEVEL = 0.95
ANECDOTE = 3
"""Below this many scored answers a number is called an anecdote and gets no interval."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; never without how many answers it rests on, and how many were planned."""

    value: float
    low: float
    high: float
    n: int
    planned: int
    clusters: int

    @property
    def anecdote(self) -> bool:
        """Whether too few answers stand behind the number to say anything general."""
        return self.n < ANECDOTE

    @property
    def has_interval(self) -> bool:
        """Whether there were enough prompts for an interval."""
        return not math.isnan(self.low)

    def __str__(self) -> str:
        count = f"n={self.n} of {self.planned}"
        if self.n == 0:
            return f"no data, {count}"
        if self.anecdote:
            return f"{number(self.value)} (anecdote), {count}"
        return f"{number(self.value)} {self.interval_text()}, {count}"

    def at_least(self) -> str:
        """The value with its lower bound alone, for an estimate at the level of a one-sided test."""
        return self._bounded("at least", self.low)

    def at_most(self) -> str:
        """The value with its upper bound alone, for an estimate at the level of a one-sided test."""
        return self._bounded("at most", self.high)

    def _bounded(self, word: str, bound: float) -> str:
        if self.n == 0:
            return "no data"
        return (
            f"{number(self.value)} ({word} {number(bound)})"
            if self.has_interval
            else f"{number(self.value)} (no bound)"
        )

    def numbers(self) -> dict[str, float | int | None]:
        """Plain rounded numbers for JSON; what is not there is None."""
        bounds = {"value": _rounded(self.value), "low": _rounded(self.low), "high": _rounded(self.high)}
        return {**bounds, "n": self.n, "planned": self.planned}

    def interval_text(self) -> str:
        """The interval alone: `[4.1, 6.6]`."""
        return f"[{number(self.low)}, {number(self.high)}]" if self.has_interval else "(no interval)"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4) + 0.0


def number(value: float, digits: int = 1) -> str:
    """A number as reports print it: fixed digits, and never a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


@dataclass(frozen=True)
class Draws:
    """Means of several groups over the same prompts, resampled together.

    By prompt and group: `sums` and `counts` of the scores, and how many were `asked`; `weights[r, prompt]` is how often
    resample r holds a prompt.
    """

    sums: Floats
    counts: Floats
    asked: Floats
    weights: Floats

    @cached_property
    def means(self) -> Floats:
        """The mean of each group, NaN where it has no score."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sums.sum(axis=0) / self.counts.sum(axis=0))

    @cached_property
    def draws(self) -> Floats:
        """`draws[r, g]`: the mean of group g in resample r of the prompts; NaN where it has no score there."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.weights @ self.sums) / (self.weights @ self.counts))

    @cached_property
    def left_out(self) -> Floats:
        """`left_out[prompt, g]`: the mean of group g without one of the prompts that some group has a score of."""
        used = (self.counts > 0).any(axis=1)
        return _left_out(self.sums[used], self.counts[used])

    @cached_property
    def n(self) -> Ints:
        """Scores per group."""
        return np.asarray(self.counts.sum(axis=0), np.int64)

    @cached_property
    def planned(self) -> Ints:
        """Planned scores per group."""
        return np.asarray(self.asked.sum(axis=0), np.int64)

    @cached_property
    def clusters(self) -> Ints:
        """Prompts with scores per group."""
        return np.asarray((self.counts > 0).sum(axis=0), np.int64)

    def first(self, count: int) -> Draws:
        """The first groups alone."""
        return Draws(self.sums[:, :count], self.counts[:, :count], self.asked[:, :count], self.weights)

    def paired(self, *groups: int) -> Draws:
        """Some groups, without the scores of prompts that were asked of all of them and not scored in each."""
        chosen = list(groups)
        counts, asked = self.counts[:, chosen], self.asked[:, chosen]
        kept = np.asarray((counts > 0).all(axis=1) | (asked == 0).any(axis=1))[:, None]
        return Draws(self.sums[:, chosen] * kept, counts * kept, asked, self.weights)

    def estimate(self, group: int, level: float = LEVEL) -> Estimate:
        """The mean of one group."""
        used = self.counts[:, group] > 0
        left_out = _left_out(self.sums[used, group], self.counts[used, group])
        value = float(self.means[group])
        low, high = interval(self.draws[:, group], value, left_out, int(self.clusters[group]), level)
        return self._estimate(value, low, high, [group])

    def difference(self, left: int, right: int, level: float = LEVEL) -> Estimate:
        """Mean of `left` minus mean of `right`, paired by prompt; n is the smaller group's."""
        return self._compared(left, right, np.subtract, level)

    def slope(self, level: float = LEVEL) -> Estimate:
        """The change of the mean from each group to the next, by least squares over their order; paired by prompt."""
        order = np.arange(len(self.means), dtype=np.float64)
        weights = (order - order.mean()) / float(((order - order.mean()) ** 2).sum())
        pair = self.paired(*range(len(self.means)))
        value, left_out = float(pair.means @ weights), pair.left_out @ weights
        low, high = interval(pair.draws @ weights, value, left_out, int(pair.clusters.min()), level)
        return pair._estimate(value, low, high, range(len(self.means)))

    def ratio(self, left: int, right: int, level: float = LEVEL) -> Estimate:
        """Mean of `left` over mean of `right`, paired by prompt; no interval where the right one may be zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self._compared(left, right, np.divide, level)
        bounded = self.paired(left, right).estimate(1, level)
        crosses = not (bounded.low > 0 or bounded.high < 0)
        return replace(found, low=math.nan, high=math.nan) if crosses else found

    def _compared(self, left: int, right: int, by: np.ufunc, level: float) -> Estimate:
        pair = self.paired(left, right)
        value = float(by(pair.means[0], pair.means[1]))
        draws, left_out = by(pair.draws[:, 0], pair.draws[:, 1]), by(pair.left_out[:, 0], pair.left_out[:, 1])
        low, high = interval(draws, value, left_out, int(pair.clusters.min()), level)
        return pair._estimate(value, low, high, [0, 1])

    def _estimate(self, value: float, low: float, high: float, groups: Sequence[int]) -> Estimate:
        least = min(groups, key=lambda group: int(self.n[group]))
        n = int(self.n[least])
        if n < ANECDOTE:
            low = high = math.nan
        return Estimate(value, low, high, n, int(self.planned[least]), int(self.clusters[list(groups)].min()))


def _left_out(sums: Floats, counts: Floats) -> Floats:
    """Means without one prompt each; NaN where nothing is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts))


def mean_ci(
    values: Sequence[float] | Floats,
    clusters: Sequence[object] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """The mean of scores with its cluster bootstrap interval; NaN is a missing score, counted in planned.

    `clusters` names the prompt of each value; None takes every value as a cluster of its own.
    """
    scores = np.asarray(values, dtype=np.float64)
    names = range(len(scores)) if clusters is None else clusters
    codes = np.unique([str(name) for name in names], return_inverse=True)[1] if len(scores) else np.empty(0, np.int64)
    everything = np.ones((1, len(scores)), dtype=bool)
    return bootstrap(scores, codes.astype(np.int64), everything, resamples=resamples, seed=seed).estimate(0, level)


def bootstrap(scores: Floats, prompts: Ints, groups: NDArray[np.bool_], *, resamples: int, seed: int) -> Draws:
    """Joint cluster bootstrap of group means.

    `scores[row]` (NaN is missing), `prompts[row]` (any integer codes), `groups[g, row]` (which rows belong to group g).
    Only prompts that occur in some group are resampled. A resample in which a group has no score is NaN there.
    """
    used = groups.any(axis=0)
    scores, prompts, groups = scores[used], prompts[used], groups[:, used]
    names, codes = np.unique(prompts, return_inverse=True)
    known = ~np.isnan(scores)

    def totals(chosen: NDArray[np.bool_], of: Floats) -> Floats:
        """The sum of something over each prompt and group, of the chosen rows."""
        parts = [np.bincount(codes[own], weights=of[own], minlength=len(names)) for own in groups & chosen]
        return np.asarray(parts, dtype=np.float64).reshape(len(groups), len(names)).T

    once = np.ones(len(scores))
    sums, counts, asked = totals(known, scores), totals(known, once), totals(np.ones_like(known), once)
    return Draws(sums, counts, asked, resampled_prompts(len(names), resamples, seed))


@lru_cache(maxsize=64)
def resampled_prompts(count: int, resamples: int, seed: int) -> Floats:
    """How often each of `count` prompts is drawn, in each resample: (resamples, count), rows sum to `count`.

    RandomState, because its stream is frozen for good (NEP 19): the same seed gives the same interval under any numpy.
    """
    if count == 0:
        return np.zeros((resamples, 0))
    stream = np.random.RandomState([seed % 2**32, count])
    weights = stream.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)
    weights.setflags(write=False)
    return weights

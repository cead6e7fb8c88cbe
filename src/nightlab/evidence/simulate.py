"""Simulated scores with a known truth, clustered by prompt: what intervals, tests and plans are measured against.

Prompts differ by a normal effect (sd 1 unless said), answers to one prompt by another one (sd 1). `clipped` scores pile
up at the lower end of the scale, `marked` ones are all or nothing, `skewed` ones are log-normal and unbounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightlab.evidence.stats import LEVEL, Draws, bootstrap

Floats = NDArray[np.float64]
KINDS = ("normal", "clipped", "marked", "skewed")
_MANY = 400_000


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth: of all, and how often it lay below or above them; their mean width."""

    kind: str
    prompts: int
    answers: int
    trials: int
    covered: float
    below: float
    above: float
    width: float


def scores(kind: str, shape: tuple[int, int], random: np.random.RandomState) -> Floats:
    """Scores of `shape` (prompts, answers to each)."""
    prompts = random.normal(size=(shape[0], 1))
    answers = random.normal(size=shape)
    if kind == "normal":
        return np.asarray(5 + prompts + answers)
    if kind == "clipped":
        return np.clip(1 + 1.5 * prompts + answers, 0, 10)
    if kind == "marked":
        return np.where(random.uniform(size=shape) < 1 / (1 + np.exp(-1.5 * prompts)), 10.0, 0.0)
    if kind == "skewed":
        return np.asarray(np.exp(0.7 * prompts + 0.5 * answers))
    raise ValueError(f"no kind {kind!r} of scores")


@lru_cache(maxsize=8)
def truth(kind: str) -> float:
    """The mean that scores of a kind have in the long run."""
    if kind == "skewed":
        return math.exp((0.7**2 + 0.5**2) / 2)
    return 5.0 if kind in ("normal", "marked") else float(scores(kind, (_MANY, 1), np.random.RandomState(1)).mean())


def measure(
    kind: str,
    prompts: int,
    *,
    answers: int = 3,
    trials: int = 1000,
    resamples: int = 500,
    uneven: bool = False,
    level: float = LEVEL,
    seed: int = 7,
) -> Coverage:
    """How often the interval of a mean holds the true one; `uneven`: prompts have one to `answers` scores."""
    random = np.random.RandomState(seed)
    low, high = np.empty(trials), np.empty(trials)
    for trial in range(trials):
        found = _drawn(kind, prompts, answers, uneven, resamples, random).estimate(0, level)
        low[trial], high[trial] = found.low, found.high
    mean = truth(kind)
    return Coverage(
        kind,
        prompts,
        answers,
        trials,
        float(((low <= mean) & (mean <= high)).mean()),
        float((mean < low).mean()),
        float((mean > high).mean()),
        float((high - low).mean()),
    )


def _drawn(kind: str, prompts: int, answers: int, uneven: bool, resamples: int, random: np.random.RandomState) -> Draws:
    """One simulated group of scores with its resamples."""
    values = scores(kind, (prompts, answers), random)
    if uneven:
        values[np.arange(answers) >= random.randint(1, answers + 1, size=(prompts, 1))] = np.nan
    names = np.repeat(np.arange(prompts), answers)
    return bootstrap(values.ravel(), names, np.ones((1, values.size), bool), resamples=resamples, seed=0)

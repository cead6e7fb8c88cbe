"""Scores that are no measurement: one number for everything, or a favourite digit.

Digit preference is heaping: a whole number inside of the range that is given far more often than its two neighbours,
tested as a binomial share of the three (a third under a smooth distribution), with the level shared by all numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

LEAST = 20
NEARLY = 0.95
LEVEL = 0.01
HEAP = 2.0
"""How many times as often as its neighbours' mean a number must be given."""


def doubts(scores: Sequence[Mapping[str, float | None]]) -> list[str]:
    """One sentence for each dimension whose scores are degenerate; fewer than 20 scores prove nothing."""
    names = list(dict.fromkeys(name for row in scores for name in row))
    found = []
    for name in names:
        given = [float(value) for row in scores if (value := row.get(name)) is not None]
        if len(given) >= LEAST:
            found += [f"{name}: {why}" for why in _doubts_of(given)]
    return found


def _doubts_of(given: Sequence[float]) -> Iterator[str]:
    counts = Counter(given)
    value, most = counts.most_common(1)[0]
    if most == len(given):
        yield f"all {most} scores are {value:g}"
        return
    if most >= NEARLY * len(given):
        yield f"{most} of {len(given)} scores are {value:g}"
        return
    inner = [value for value in counts if value == int(value) and min(given) < value < max(given)]
    for value in sorted(inner):
        beside = counts[value - 1] + counts[value + 1]
        heap = counts[value] / max(beside / 2, 0.5)
        if heap >= HEAP and _at_least(counts[value], counts[value] + beside, 1 / 3) < LEVEL / len(inner):
            yield f"{value:g} is given {heap:.1f} times as often as its neighbours (digit preference)"


def _at_least(successes: int, trials: int, share: float) -> float:
    """The probability of at least so many successes."""
    terms = (math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes, trials + 1))
    return math.fsum(terms)

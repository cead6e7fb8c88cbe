"""The known items of a batch, and whether a judge that scored them as it did can be believed.

Gold items have agreed scores; two of them, the sentinels, stand for the two ends of the scale; copies are samples of
the batch that are shown twice under different ids. A batch is rejected where known items have no score, the sentinels
are in the wrong order or too close, gold items get one another's scores or are missed, or copies get different scores.

The thresholds follow from one number: an honest judge's scores scatter by NOISE, a tenth of the range (a point of ten).
They are where such a judge fails in about two batches of a hundred at worst, and one that is constant or reversed in
all whose sentinels are half a range apart (tests/judging/test_thresholds.py). A judge that scatters by one and a half
points fails in one of twenty on average, in one of seven at worst. Limits: the scatter is an assumption, measured of no
model; they do not prove a good judge.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.experiments.gold import TOLERANCE, Gold
from nightlab.experiments.rubric import Rubric

MOST_GOLD = 8
NOISE = 0.1
"""How far an honest judge's scores scatter (standard deviation), as a share of the range."""
SURE = 3.5
"""How many standard deviations away something must be to be no chance."""
ALIKE = SURE * NOISE * 2**0.5
"""What two honest scores of one text may differ by, in all dimensions together: items no further apart are alike."""
SEEN = 0.5
"""The share of the difference between the sentinels that a judge must see, where noise leaves as much."""
FAR, FAR_APART = 0.5, 0.7
"""More than this share of a range off is no noise: for a gold item, and for two scores of one text."""
FINE = 3
"""A range of fewer steps has no small errors."""
UNANSWERED = 0.2
ROUNDING = 1e-9


@dataclass(frozen=True)
class Check:
    """A known item as it was scored: what it is, what was expected (for a copy: the original's scores), what came."""

    kind: str
    ref: str
    packet: str
    position: int
    request: str
    expected: Mapping[str, float | None]
    scores: Mapping[str, float | None]
    tolerance: float = TOLERANCE

    def row(self) -> dict[str, Any]:
        """The check as the log keeps it."""
        names = ("kind", "ref", "packet", "position", "request")
        fields = {name: getattr(self, name) for name in names}
        return fields | {"expected": dict(self.expected), "scores": dict(self.scores)}

    def errors(self, rubric: Rubric) -> dict[str, float]:
        """The distance from what was expected by dimension, as a share of its range, where both are there."""
        return {
            name: abs(score - wanted) / _width(rubric, name)
            for name, wanted in self.expected.items()
            if wanted is not None and (score := self.scores.get(name)) is not None
        }

    def error(self, rubric: Rubric) -> float | None:
        """The mean of these distances; None where nothing can be compared."""
        parts = self.errors(rubric).values()
        return sum(parts) / len(parts) if parts else None

    def missed(self, rubric: Rubric) -> bool:
        """Whether the mean distance is beyond what is tolerated: never less than one step of a scale.

        Two scores of one text both scatter.
        """
        errors = self.errors(rubric)
        steps = [1 / width for name in errors if (width := _width(rubric, name)) >= FINE]
        allowed = max(self.tolerance, sum(steps) / len(errors) if errors else 0.0) + ROUNDING
        return bool(errors) and sum(errors.values()) / len(errors) > allowed * (2**0.5 if self.kind == "copy" else 1)

    def far_off(self, rubric: Rubric) -> str:
        """The first dimension whose distance is no noise; empty where there is none."""
        limit = FAR_APART if self.kind == "copy" else FAR
        errors = self.errors(rubric).items()
        return next((n for n, error in errors if error > limit + ROUNDING and _width(rubric, n) >= FINE), "")


def sentinels(rubric: Rubric) -> dict[str, str]:
    """The gold items at the two ends, by id: those marked so, else the ones with the least and the most."""
    marked = {item.id: item.sentinel for item in rubric.gold if item.sentinel}
    if len(set(marked.values())) == 2 or len(rubric.gold) < 2:
        return marked if len(set(marked.values())) == 2 else {}
    ranked = sorted(rubric.gold, key=lambda item: (_height(item, rubric), item.id))
    return {ranked[0].id: "base", ranked[-1].id: "full"}


def mix(keys: Sequence[str], rubric: Rubric, seed: str) -> list[dict[str, str]]:
    """The items of a batch in their order: the samples, gold among them, and copies far from their originals."""
    dice = random.Random(seed)
    ends = sentinels(rubric)
    others = [item.id for item in rubric.gold if item.id not in ends]
    room = max(0, min(MOST_GOLD, max(2, len(keys))) - len(ends))
    gold = [*ends, *dice.sample(others, min(room, len(others)))]
    items: list[dict[str, str]] = [{"key": key} for key in keys]
    copied = dice.sample(range(len(keys)), min(len(keys), max(2, len(keys) // 50))) if len(keys) > 1 else []
    places = [((at + len(keys) // 2) % len(keys), {"copy": keys[at]}) for at in copied]
    places += [(dice.randrange(len(keys) + 1), {"gold": name}) for name in gold]
    for at, item in sorted(places, key=lambda place: -place[0]):
        items.insert(at, item)
    return items


def audit(checks: Sequence[Check], rubric: Rubric) -> str:
    """Why a batch cannot be believed, in one sentence; empty where nothing speaks against it."""
    gold = [check for check in checks if check.kind == "gold"]
    copies = [check for check in checks if check.kind == "copy"]
    silent = [check for check in gold if None in check.scores.values() or not check.scores]
    if len(silent) > UNANSWERED * len(gold):
        return f"{len(silent)} of {len(gold)} gold items have no score"
    found = _sentinels(gold, rubric) or _mixed_up(gold, rubric)
    found = found or _missed("gold items", gold, rubric, max(1, len(gold) // 4))
    return found or _missed("copies", copies, rubric, len(copies) // 2)


def _sentinels(gold: Iterable[Check], rubric: Rubric) -> str:
    """What is wrong with the sentinels, in one dimension or in all together."""
    ends = sentinels(rubric)
    known = {ends[check.ref]: check for check in gold if check.ref in ends}
    if len(known) < 2:
        return ""
    apart = _apart(known["base"], known["full"], rubric)
    for name, (wanted, seen) in apart.items():
        if why := _too_close(name, wanted, seen, rubric):
            return why
    norm = math.hypot(*(wanted for wanted, _ in apart.values()))
    if norm <= ALIKE:
        return ""
    share = sum(wanted * seen for wanted, seen in apart.values()) / norm**2
    return f"the sentinels are {share:.0%} as far apart as was expected" if share < min(SEEN, 1 - ALIKE / norm) else ""


def _apart(one: Check, other: Check, rubric: Rubric) -> dict[str, tuple[float, float]]:
    """How far the other lies above the one, expected and scored, by dimension as a share of its range."""
    found = {}
    for name in rubric.dimensions:
        wanted, seen = _difference(other.expected, one.expected, name), _difference(other.scores, one.scores, name)
        if wanted is not None and seen is not None:
            found[name] = (wanted / _width(rubric, name), seen / _width(rubric, name))
    return found


def _too_close(name: str, wanted: float, seen: float, rubric: Rubric) -> str:
    width = _width(rubric, name)
    steps = 1 / (12 * width**2) if width >= FINE else 0.0  # the variance that whole numbers add
    least = min(SEEN * abs(wanted), abs(wanted) - SURE * (2 * (NOISE**2 + steps)) ** 0.5)
    if least <= 0 or seen * (1 if wanted > 0 else -1) >= least:
        return ""
    if seen * wanted < 0:
        return f"the sentinels of {name} are in the wrong order: the full one is {seen * width:+g} from the base"
    return f"the sentinels of {name} are {abs(seen) * width:g} apart, and {abs(wanted) * width:g} were expected"


def _mixed_up(gold: Sequence[Check], rubric: Rubric) -> str:
    """Two gold items, clearly unlike, whose scores fit better the other way round."""
    for one, other in itertools.combinations(gold, 2):
        apart = _apart(one, other, rubric).values()
        unlike = math.hypot(*(wanted for wanted, _ in apart)) > ALIKE
        if unlike and sum(wanted * seen for wanted, seen in apart) < 0:
            return f"{one.ref} and {other.ref} were scored as if each were the other"
    return ""


def _difference(one: Mapping[str, float | None], other: Mapping[str, float | None], name: str) -> float | None:
    left, right = one.get(name), other.get(name)
    return None if left is None or right is None else left - right


def _missed(what: str, checks: Sequence[Check], rubric: Rubric, allowed: int) -> str:
    for check in checks:
        if name := check.far_off(rubric):
            off = check.errors(rubric)[name] * _width(rubric, name)
            return f"one of {len(checks)} {what} is off by {off:g} in {name}: {check.ref}"
    over = [check.ref for check in checks if check.missed(rubric)]
    if len(over) <= allowed:
        return ""
    return f"{len(over)} of {len(checks)} {what} were scored too far off, the first is {over[0]}"


def _width(rubric: Rubric, name: str) -> float:
    low, high = rubric.dimensions[name].range
    return high - low


def _height(item: Gold, rubric: Rubric) -> float:
    return sum((score - rubric.dimensions[name].range[0]) / _width(rubric, name) for name, score in item.scores.items())

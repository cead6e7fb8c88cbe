"""The known items of a batch, and whether a judge that scored them as it did can be believed.

Gold items have agreed scores; two of them, the sentinels, stand for the two ends of the scale; copies are samples of
the batch that are shown twice under different ids. A batch is rejected where known items have no score, the sentinels
are in the wrong order or too close, gold items are missed, or copies get different scores. Limits: the rules are
thresholds, chosen to fail a judge that is constant, reversed or mixes items up; they do not prove a good one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.experiments.gold import TOLERANCE, Gold
from nightlab.experiments.rubric import Rubric

MOST_GOLD = 8
UNLIKE = 0.25
"""A difference between expected scores, as a share of the range, that a judge must see."""
SEEN = 0.5
"""The share of that difference that its scores must have."""
UNANSWERED = 0.2


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

    def error(self, rubric: Rubric) -> float | None:
        """The mean distance from what was expected as a share of each range; None where nothing can be compared."""
        parts = [
            abs(score - wanted) / _width(rubric, name)
            for name, wanted in self.expected.items()
            if wanted is not None and (score := self.scores.get(name)) is not None
        ]
        return sum(parts) / len(parts) if parts else None


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
    found = _order(gold, rubric) or _missed("gold items", gold, rubric, len(gold) // 10)
    return found or _missed("copies", copies, rubric, len(copies) // 4)


def _order(gold: Iterable[Check], rubric: Rubric) -> str:
    ends = sentinels(rubric)
    low = [check for check in gold if ends.get(check.ref) == "base"]
    high = [check for check in gold if ends.get(check.ref) == "full"]
    for base in low:
        for full in high:
            for name in rubric.dimensions:
                if why := _too_close(base, full, name, _width(rubric, name)):
                    return why
    return ""


def _too_close(base: Check, full: Check, name: str, width: float) -> str:
    wanted = _difference(full.expected, base.expected, name)
    seen = _difference(full.scores, base.scores, name)
    if wanted is None or seen is None or abs(wanted) < UNLIKE * width:
        return ""
    if seen * wanted < 0:
        return f"the sentinels of {name} are in the wrong order: {full.ref} is {seen:+g} from {base.ref}"
    if abs(seen) < SEEN * abs(wanted):
        return f"the sentinels of {name} are {abs(seen):g} apart, and {abs(wanted):g} were expected"
    return ""


def _difference(one: Mapping[str, float | None], other: Mapping[str, float | None], name: str) -> float | None:
    left, right = one.get(name), other.get(name)
    return None if left is None or right is None else left - right


def _missed(what: str, checks: Sequence[Check], rubric: Rubric, allowed: int) -> str:
    errors = {check.ref: check.error(rubric) for check in checks}
    over = [c.ref for c in checks if (error := errors[c.ref]) is not None and error > c.tolerance]
    if len(over) <= allowed:
        return ""
    return f"{len(over)} of {len(checks)} {what} were scored too far off, the first is {over[0]}"


def _width(rubric: Rubric, name: str) -> float:
    low, high = rubric.dimensions[name].range
    return high - low


def _height(item: Gold, rubric: Rubric) -> float:
    return sum((score - rubric.dimensions[name].range[0]) / _width(rubric, name) for name, score in item.scores.items())

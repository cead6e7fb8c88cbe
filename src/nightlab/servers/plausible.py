"""Whether a server's answers can be what they say they are, judged by their rows: speed, sameness, length.

A cache in between, a stuck server, or a stop token at the first place gives rows that keep every contract. A condition
may really make a model speak alike or briefly, so sameness and brevity count only against what the canary saw of the
same server. Each finding names rows by their condition; nothing is judged from few rows. Limit: a fault that changes
answers plausibly is not seen here.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.servers.readings import Readings, difference

FEW = 5  # rows, or prompts, from which nothing is concluded
SHARE = 0.9  # of the rows or prompts that have to show it
FASTEST = 20_000.0  # tokens per second of one answer that no model gives
SHORTEST = 0.0005  # seconds that an answer over a network takes at least
LONG = 4  # tokens of the canary's answers, where an empty sample is a collapse
WORDY = 8  # tokens from which two equal texts mean something

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What is implausible: of which conditions (none: of all), and in words with its numbers."""

    kind: str
    conditions: tuple[str, ...]
    what: str


def implausible(rows: Sequence[Row], conditions: Mapping[str, str], reference: Mapping[str, Readings]) -> list[Finding]:
    """Everything implausible about the rows of one model on one server.

    `conditions` are the served names by condition, `reference` the canary's readings by served name.
    """
    if len(rows) < FEW:
        return []
    readings = {condition: reference[name] for condition, name in conditions.items() if name in reference}
    return [*_speed(rows), *_collapse(rows, readings), *_sameness(rows, readings)]


def _speed(rows: Sequence[Row]) -> Iterator[Finding]:
    fast = [row for row in rows if _too_fast(row)]
    if len(fast) >= SHARE * len(rows):
        worst = min(float(row["latency"]) for row in fast)
        yield Finding(
            "speed", (), f"{len(fast)} of {len(rows)} answers came faster than a model gives them ({worst} s)"
        )


def _too_fast(row: Row) -> bool:
    seconds = float(row.get("latency") or 0.0)
    return seconds < SHORTEST or int(row.get("completion_tokens") or 0) / seconds > FASTEST


def _collapse(rows: Sequence[Row], readings: Mapping[str, Readings]) -> Iterator[Finding]:
    for condition, own in _by_condition(rows).items():
        spoken = [len(reading.tokens) for reading in readings.get(condition, ())]
        empty = [row for row in own if int(row.get("completion_tokens") or 0) <= 1]
        if len(own) >= FEW and spoken and min(spoken) >= LONG and len(empty) >= SHARE * len(own):
            what = (
                f"{len(empty)} of {len(own)} answers under {condition} are empty; the canary's had {min(spoken)} tokens"
            )
            yield Finding("collapse", (condition,), what)


def _sameness(rows: Sequence[Row], readings: Mapping[str, Readings]) -> Iterator[Finding]:
    """Two conditions that say other words to every probe of the canary, and the same to nearly every prompt."""
    texts: dict[str, dict[tuple[object, ...], str]] = defaultdict(dict)
    for row in rows:
        if int(row.get("completion_tokens") or 0) >= WORDY:
            texts[row["condition"]][row["prompt"], row["replicate"]] = row["text"]
    for one, other in itertools.combinations(sorted(texts), 2):
        if one not in readings or other not in readings:
            continue
        both = texts[one].keys() & texts[other].keys()
        same = sum(texts[one][cell] == texts[other][cell] for cell in both)
        apart = difference(readings[one], readings[other]).texts == len(readings[one])
        if len(both) >= FEW and apart and same >= SHARE * len(both):
            what = f"{same} of {len(both)} prompts got one answer under {one} and {other}, which the canary tells apart"
            yield Finding("sameness", (one, other), what)


def _by_condition(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row["condition"])].append(row)
    return found

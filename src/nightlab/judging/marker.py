"""The embedded judge: it counts the rubric's published markers. Deterministic, free, and it cannot read; its notes say
so.
"""

from __future__ import annotations

from collections.abc import Sequence

from nightlab.errors import RubricError
from nightlab.experiments.rubric import Dimension, Rubric
from nightlab.judging.judge import Afford, Estimate, Scored, Verdict
from nightlab.judging.log import BatchLog
from nightlab.judging.packet import Packet

METHOD = "published markers, deterministic"


class MarkerJudge:
    """Scores each dimension by its markers: the points of those that occur in the answer, clipped to the range."""

    name = "markers"
    batch = 256
    audited = False
    protocol = ""

    def __init__(self, rubric: Rubric) -> None:
        if rubric.without_markers:
            hint = "give it `markers`, or let a judge that reads score this rubric"
            what = f"the dimension {rubric.without_markers[0]} has no markers to judge by"
            raise RubricError(what, where=rubric.path, hint=hint)

    def estimate(self, packets: Sequence[Packet], rubric: Rubric) -> Estimate:
        """Nothing."""
        return Estimate()

    def instructions(self, rubric: Rubric) -> bytes:
        """Nothing: it cannot read."""
        return b""

    async def score(
        self,
        packets: Sequence[Packet],
        rubric: Rubric,
        *,
        repeat: int,
        log: BatchLog | None = None,
        afford: Afford | None = None,
    ) -> Scored:
        """Score packets; an empty answer gets no score. A repeat scores the same."""
        return Scored({packet.id: verdict(packet.text, rubric) for packet in packets})


def verdict(text: str, rubric: Rubric) -> Verdict:
    """The scores of a text, with the markers that were found in it."""
    if not text.strip():
        return Verdict(dict.fromkeys(rubric.dimensions), {"method": METHOD, "empty": True})
    hits = {name: _hits(text, dimension) for name, dimension in rubric.dimensions.items()}
    scores = {name: _score(rubric.dimensions[name], found) for name, found in hits.items()}
    return Verdict(scores, {"method": METHOD, "markers": {name: found for name, found in hits.items() if found}})


def _hits(text: str, dimension: Dimension) -> list[int]:
    return [number for number, marker in enumerate(dimension.markers) if marker.regex.search(text)]


def _score(dimension: Dimension, found: list[int]) -> float:
    low, high = dimension.range
    return min(high, max(low, sum(dimension.markers[number].points for number in found)))

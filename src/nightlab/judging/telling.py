"""What a judging tells the night: its events, and every degradation of what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nightlab.events import EventLog
from nightlab.judging.blind import Leak
from nightlab.judging.pilot import Pilot

if TYPE_CHECKING:
    from nightlab.judging.run import JudgeResult

WORDS_SHOWN = 5


class Told:
    """The events of one judging; without an event log nothing is told."""

    def __init__(self, events: EventLog | None, experiment: str, judge: str) -> None:
        self._events, self._experiment, self._judge = events, experiment, judge

    def started(self, planned: int, missing: int) -> None:
        """The judging begins."""
        self._emit("judging_started", judge=self._judge, planned=planned, missing=missing)

    def pilot(self, pilot: Pilot, go_on: bool) -> None:
        """The pilot was judged, and what was decided."""
        self._emit("judging_pilot", judge=self._judge, what=pilot.sentence(), go_on=go_on, **pilot.document())

    def finished(self, result: JudgeResult, *, masked: bool) -> None:
        """The judging is over: what is missing, what could leak, what was rejected, and the counts."""
        name = self._judge
        if result.missing:
            why = result.stopped or f"{name} gave no verdict"
            self._degraded(f"{result.missing} of {result.planned} judgments are missing", why)
        if result.leaks:
            self._leaked(result.leaks, masked=masked)
        for why in result.rejected:
            self._degraded("a batch of judgments was rejected", why)
        if result.escalated:
            what = f"{result.escalated} judgments were given up: their batches were rejected twice"
            self._degraded(what, "a person must look at the judge, the rubric or its gold items")
        if result.refused:
            self._degraded(f"{name} refused {result.refused} samples", "they are not available, which is not 0")
        counts = {field: getattr(result, field) for field in ("planned", "judged", "na", "missing")}
        audited = ("escalated", "refused", "repaired")
        more = {field: value for field in audited if (value := getattr(result, field))}
        cost = {"usd": round(result.usd, 6)} if result.usd else {}
        self._emit("judging_finished", judge=name, **counts, **more, **cost)

    def _leaked(self, leaks: Sequence[Leak], *, masked: bool) -> None:
        told = [leak for leak in leaks if leak.part == "instructions"]
        if told:
            self._degraded(
                f"the judge's instructions hold a name of the plan: {_words(told)}", "it may be there by chance"
            )
        own = [leak for leak in leaks if leak.part != "instructions"]
        if own:
            what = f"{len({leak.packet for leak in own})} packets hold a name in their own text: {_words(own)}"
            self._degraded(what, "it was struck out for the judge" if masked else "the judge could read it there")

    def _degraded(self, what: str, why: str) -> None:
        self._emit("degradation", what=what, why=why, where="judging")

    def _emit(self, kind: str, **fields: object) -> None:
        if self._events is not None:
            self._events.emit(kind, experiment=self._experiment, **fields)


def _words(leaks: Sequence[Leak]) -> str:
    return ", ".join(sorted({leak.word for leak in leaks})[:WORDS_SHOWN])

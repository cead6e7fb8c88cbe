"""Where a night's time went when nobody worked: waits, pauses, silence, and the hours in which its process was gone.

A fold over the times of its events. A tool or a turn that takes long is work; more than ten minutes without any event
is silence all the same, and is listed with what was under way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from nightlab.morning.text import clean, duration

SILENT = 600.0  # seconds without an event that are listed
WORTH = 60.0  # seconds of waiting, or without a process, that are listed


@dataclass(frozen=True)
class Idle:
    """One kind of idle time: for how long, from when on (the first time), how often, and why."""

    kind: Literal["waited", "paused", "silent", "gone"]
    seconds: float
    since: str
    times: int
    why: str

    def text(self, clock: str) -> str:
        """One line; `clock` is `since` as people read it."""
        often = f" in {self.times} times" if self.times > 1 else ""
        return f"{self.kind} {duration(self.seconds)}{often}, from {clock}: {clean(self.why, 80)}"


class Times:
    """The fold: give it every event with its time in seconds since the epoch."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None
        self._waits: dict[str, str] = {}
        self._tools: dict[str, str] = {}
        self._paused = ""
        self._spans: list[tuple[str, float, str, str]] = []

    def see(self, event: dict[str, Any], at: float) -> None:
        """Take in one event."""
        stamp = str(event.get("t", ""))
        if self._last and at > self._last[0]:
            self._span(str(event["kind"]), at - self._last[0], self._last[1])
        self._last = (at, stamp)
        self._open(event)

    def idle(self) -> tuple[Idle, ...]:
        """What is worth a line, the longest first; silences and losses one by one, waits and pauses as sums."""
        found = [Idle("silent", s, t, 1, why) for kind, s, t, why in self._spans if kind == "silent" and s > SILENT]
        found += [Idle("gone", s, t, 1, why) for kind, s, t, why in self._spans if kind == "gone" and s > WORTH]
        sums = (self._sum("waited"), self._sum("paused"))
        found += [one for one in sums if one and one.seconds > WORTH]
        return tuple(sorted(found, key=lambda one: -one.seconds))

    def _span(self, kind: str, seconds: float, since: str) -> None:
        """Say what the time before an event was."""
        if kind in ("worker_lost", "night_resumed"):
            self._spans.append(("gone", seconds, since, "its process was gone or hung"))
            self._waits, self._tools = {}, {}
        elif self._paused:
            self._spans.append(("paused", seconds, since, f"by {self._paused}"))
        elif self._waits and not self._tools:
            self._spans.append(("waited", seconds, since, next(iter(self._waits.values()))))
        else:
            under_way = ", ".join(dict.fromkeys(self._tools.values())) or "thinking"
            self._spans.append(("silent", seconds, since, under_way))

    def _open(self, event: dict[str, Any]) -> None:
        kind, call = str(event["kind"]), str(event.get("call"))
        if kind == "tool_started" and event.get("tool") != "wait":
            self._tools[call] = str(event.get("tool"))
        elif kind == "tool_finished":
            self._tools.pop(call, None)
        elif kind == "waiting":
            self._waits[call] = "for " + ", ".join(map(str, event.get("handles") or ()))
        elif kind == "woke":
            self._waits.pop(call, None)
        elif kind in ("paused", "unpaused"):
            self._paused = str(event.get("by")) if kind == "paused" else ""

    def _sum(self, kind: Literal["waited", "paused"]) -> Idle | None:
        spans = [span for span in self._spans if span[0] == kind]
        if not spans:
            return None
        most: Counter[str] = Counter()
        for _, seconds, _, why in spans:
            most[why] += round(seconds * 1000)
        return Idle(kind, sum(span[1] for span in spans), spans[0][2], len(spans), f"most {most.most_common(1)[0][0]}")

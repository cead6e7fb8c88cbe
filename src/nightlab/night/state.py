"""What a night is doing, told from its files alone: in one word, the same word everywhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.lock import living_holder
from nightlab.night.options import NightWord
from nightlab.record.repository import Repository


@dataclass(frozen=True)
class NightState:
    """A night's word, since when, what it is doing, and the process that runs it."""

    night: str
    state: NightWord
    since: str
    doing: str
    seconds_quiet: float
    pid: int | None = None
    reason: str | None = None


def night_state(lab: Lab, night: str) -> NightState:
    """The state of a night: running, waiting, finished, stopped, failed, or dead where its process is gone."""
    events = list(EventLog(lab.night(night)).read())
    if not events:
        return NightState(night, "dead", "", "nothing was logged", 0.0)
    newest = events[-1]
    ended = next((row for row in reversed(events) if row["kind"] == "night_ended"), None)
    quiet = max(0.0, time.time() - datetime.fromisoformat(newest["t"]).timestamp())
    if ended is not None:
        return NightState(night, ended["state"], ended["t"], "ended", quiet, reason=ended["why"])
    holder = living_holder(lab.lock)
    if holder is None or holder.night != night:
        return NightState(night, "dead", newest["t"], _doing(events), quiet)
    waits = _open(events, "waiting", "woke")
    word: NightWord = "waiting" if waits else "running"
    return NightState(night, word, events[0]["t"], _doing(events), quiet, pid=holder.pid)


def unfinished(lab: Lab) -> str | None:
    """The newest night, where it began and did not end."""
    night = lab.latest_night()
    log = EventLog(lab.night(night)) if night else None
    return night if log and log.last("night_started") and not log.last("night_ended") else None


def unclosed(lab: Lab) -> str | None:
    """The newest night, where it ended and its last commit is missing."""
    night = lab.latest_night()
    ended = night and EventLog(lab.night(night)).last("night_ended")
    return night if night and ended and not Repository(lab.root).has(closing_key(night)) else None


def closing_key(night: str) -> str:
    """The key of a night's last commit: the night is over when it is there."""
    return f"{night}/closed"


def _open(events: list[dict[str, Any]], start: str, end: str) -> list[dict[str, Any]]:
    """The start events of calls that have no end event yet."""
    ended = {row.get("call") for row in events if row["kind"] == end}
    return [row for row in events if row["kind"] == start and row.get("call") not in ended]


def _doing(events: list[dict[str, Any]]) -> str:
    """What is under way, in a few words."""
    if waits := _open(events, "waiting", "woke"):
        return f"waiting for {', '.join(waits[-1]['handles'])}"
    if calls := _open(events, "tool_started", "tool_finished"):
        return ", ".join(dict.fromkeys(str(row["tool"]) for row in calls))
    said = next((row["said"] for row in reversed(events) if row["kind"] == "turn"), "")
    return str(said) or str(events[-1]["kind"]).replace("_", " ")

"""What a night is doing, told from its files alone: in one word, the same word everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.lock import Holder, living_holder
from nightlab.night.options import NightWord
from nightlab.record.repository import Repository

SILENT = 90.0  # seconds without a sign of life that are worth a word


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
    holder = _holder(lab, night)
    if not events:
        begins = (holder.since, "it begins", 0.0, holder.pid) if holder else ("", "nothing was logged", 0.0, None)
        return NightState(night, "running" if holder else "dead", *begins)
    newest = events[-1]
    ended = next((row for row in reversed(events) if row["kind"] == "night_ended"), None)
    quiet = max(0.0, time.time() - datetime.fromisoformat(newest["t"]).timestamp())
    if ended is not None:
        return NightState(night, ended["state"], ended["t"], "ended", quiet, reason=ended["why"])
    if holder is None:
        return NightState(night, "dead", newest["t"], _doing(events), quiet)
    waits = _open(events, "waiting", "woke") or _paused_by(events)
    word: NightWord = "waiting" if waits else "running"
    return NightState(night, word, events[0]["t"], _silence(lab) + _doing(events), quiet, pid=holder.pid)


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


def limits_of(events: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """The limits of a night as they were last set: usd, tokens, gpu_seconds, deadline; empty before its beginning."""
    limits: dict[str, float | None] = {}
    for row in events:
        if row["kind"] in ("night_started", "night_resumed", "budget_changed"):
            limits = dict(row["limits"])
    return limits


def _holder(lab: Lab, night: str) -> Holder | None:
    """Who runs this night: its own process, else the supervisor that will start it again."""
    holders = [living_holder(path) for path in (lab.lock, lab.supervisor)]
    return next((holder for holder in holders if holder and holder.night == night), None)


def _paused_by(events: list[dict[str, Any]]) -> str | None:
    """Who paused the night, while it is paused."""
    last = next((row for row in reversed(events) if row["kind"] in ("paused", "unpaused")), None)
    return str(last["by"]) if last and last["kind"] == "paused" else None


def _silence(lab: Lab) -> str:
    """For how long the process has given no sign of life, where that is long."""
    try:
        seconds = time.time() - lab.heartbeat.stat().st_mtime
    except FileNotFoundError:
        return ""
    return f"no sign of life for {seconds / 60:.0f} min; last: " if seconds > SILENT else ""


def closing_key(night: str) -> str:
    """The key of a night's last commit: the night is over when it is there."""
    return f"{night}/closed"


def _open(events: list[dict[str, Any]], start: str, end: str) -> list[dict[str, Any]]:
    """The start events of calls that have no end event yet."""
    ended = {row.get("call") for row in events if row["kind"] == end}
    return [row for row in events if row["kind"] == start and row.get("call") not in ended]


def _doing(events: list[dict[str, Any]]) -> str:
    """What is under way, in a few words."""
    if by := _paused_by(events):
        return f"paused by {by}"
    if waits := _open(events, "waiting", "woke"):
        return f"waiting for {', '.join(waits[-1]['handles'])}"
    if calls := _open(events, "tool_started", "tool_finished"):
        return ", ".join(dict.fromkeys(str(row["tool"]) for row in calls))
    said = next((row["said"] for row in reversed(events) if row["kind"] == "turn"), "")
    return str(said) or str(events[-1]["kind"]).replace("_", " ")

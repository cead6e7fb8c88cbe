"""One night as its events tell it: what failed, what was mended, what was not done, when it ended.

A fold over events.jsonl and the ledger; it works on a night that still runs, or that was cut off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.judging.rows import counts as is_score
from nightlab.judging.rows import read_judgments
from nightlab.lab import Lab
from nightlab.morning.idle import Times
from nightlab.morning.text import clean

TROUBLE = frozenset(["server_failed", "degradation", "error", "budget_warning", "worker_lost"])


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong, how often, and whether the night got over it."""

    what: str
    where: str = ""
    times: int = 1
    mended: bool = False


@dataclass
class Story:
    """What the events of a night tell so far."""

    night: str
    started: str = ""
    last: str = ""
    ended: str = ""
    state: str = ""
    reason: str = ""
    experiments: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    corrections: list[str] = field(default_factory=list)
    commits: int = 0
    limits: dict[str, Any] = field(default_factory=dict)
    left_open: list[str] = field(default_factory=list)
    """What was still in the queue when the agent ended the night."""
    times: Times = field(default_factory=Times)

    def see(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        kind, self.last = str(event["kind"]), str(event.get("t", self.last))
        self.started = self.started or self.last
        self.times.see(event, _epoch(self.last))
        self.limits = event["limits"] if isinstance(event.get("limits"), dict) else self.limits
        name = event.get("experiment")
        if isinstance(name, str) and name not in self.experiments:
            self.experiments.append(name)
        if kind in TROUBLE or (kind == "tool_finished" and event.get("ok") is False):
            self._trouble(kind, event)
        elif kind == "server_ready":
            self._mend(str(event.get("model", "")))
        elif kind == "audit":
            self._audited(event)
        elif kind == "correction":
            self.corrections.append(_sentence(event))
        elif kind == "commit":
            self.commits += 1
        elif kind == "wrap_up":
            self.left_open = [str(name) for name in event.get("open") or ()]
        elif kind in ("night_started", "night_resumed"):
            self.ended = self.state = self.reason = ""
        elif kind == "night_ended":
            self.ended, self.state = self.last, str(event.get("state", "finished"))
            self.reason = clean(event.get("why", ""), 160)

    def early(self) -> float:
        """Seconds from the end to the deadline that was left unused; 0 where there was none."""
        deadline, end = self.limits.get("deadline"), _epoch(self.ended)
        return max(0.0, float(deadline) - end) if deadline and end else 0.0

    def seconds(self) -> float:
        """From the first event to the last, or to now while the night is not over."""
        start, end = _epoch(self.started), _epoch(self.ended) or time.time()
        return max(0.0, end - start) if start else 0.0

    def _trouble(self, kind: str, event: dict[str, Any]) -> None:
        what = _sentence(event) or kind.replace("_", " ")
        where = clean(event.get("model") or event.get("where") or event.get("tool") or "", 40)
        before = self.troubles.get((what, where))
        self.troubles[(what, where)] = Trouble(what, where, before.times + 1 if before else 1)

    def _audited(self, event: dict[str, Any]) -> None:
        """What an audit found stands until the same thing is audited again."""
        where = f"audit of {clean(event.get('audited', ''), 60)}"
        self.troubles = {key: trouble for key, trouble in self.troubles.items() if trouble.where != where}
        if lines := event.get("findings") or ():
            count = event["errors"] + event["warnings"]
            what = clean(f"{count} finding{'s' * (count > 1)}: {lines[0]}", 200)
            self.troubles[(what, where)] = Trouble(what, where)

    def _mend(self, model: str) -> None:
        """A server that is ready has got over its failed starts."""
        for key, trouble in self.troubles.items():
            if model and trouble.where == model:
                self.troubles[key] = Trouble(trouble.what, trouble.where, trouble.times, mended=True)


def story(lab: Lab, night: str) -> Story:
    """Fold a night's events."""
    told = Story(night)
    for event in EventLog(lab.night(night)).read():
        told.see(event)
    return told


def spent(lab: Lab, night: str) -> Budget:
    """The ledger of a night, to read."""
    return Budget(lab.night(night) / "ledger.jsonl", Limits())


def counts(lab: Lab, experiment: str) -> tuple[int, int]:
    """The answered and the judged cells of an experiment."""
    from nightlab.experiments.samples import Samples

    folder = lab.experiments / experiment
    judged = {row.get("key") for row in read_judgments(folder) if is_score(row)}
    return len(Samples(folder).keys()), len(judged)


def when(stamp: str, form: str = "%H:%M") -> str:
    """The local time of a stamp, or `?`."""
    at = _epoch(stamp)
    return datetime.fromtimestamp(at).astimezone().strftime(form) if at else "?"


def _epoch(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


def _sentence(event: dict[str, Any]) -> str:
    """What an event says went wrong: its words, in the order that people ask."""
    if event["kind"] == "budget_warning":
        return clean(f"{100 * float(event.get('share', 0)):.0f} % of the limit {event.get('limit')} is used")
    if event["kind"] == "worker_lost":
        return clean(f"the night's process was lost: {event.get('why')}", 160)
    return clean(": ".join(_words(event)), 160)


def _words(event: dict[str, Any]) -> Iterator[str]:
    what = event.get("what") or event.get("error") or event.get("failure")
    why = event.get("why")
    yield from (str(word) for word in (what, why) if word)

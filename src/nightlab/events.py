"""The append-only log of a night: everything that happened is a line, every view of a night is a fold over the lines.

An event is `{"v": 1, "t": time, "kind": ..., **fields}`. A fallback, skip, truncation, retry exhaustion or imputation
is a `degradation` event and must stand in the report. Secrets are taken out before a line is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nightlab.files import JsonLines, now
from nightlab.secrets import Redactor

VERSION = 1

KINDS: dict[str, str] = {
    "night_started": "a night began: budget, deadline, brain, versions",
    "night_resumed": "a night that was cut off goes on",
    "watch_started": "an agent began a conversation",
    "turn": "the brain answered: tool calls, tokens, cost",
    "refusal": "the brain refused a turn: its category",
    "retry": "an attempt of a turn failed and is made again: why, and the wait",
    "tool_started": "a tool was called",
    "tool_finished": "a tool returned; ok or its error code",
    "delegation_started": "an agent was asked to do something for another one: its brief, inputs and write scope",
    "delegation_ended": "it reported back, or why it did not",
    "proposal": "an agent proposed a skill, a tool or a known failure, for a person to accept",
    "command_started": "a sandboxed command was started: its text, level and write scope",
    "command_finished": "a sandboxed command ended: status, what ended it, seconds",
    "violation": "an agent or its command went for something it may not do: what, by whom, and what stopped it",
    "waiting": "the night waits for the named work",
    "woke": "the wait ended, and why",
    "server_starting": "a model server is being started",
    "server_healing": "a step of a failure's ladder is taken: what failed, and what the next start changes",
    "place_away": "the place of a server or a training does not answer; what runs there runs on",
    "place_back": "it answers again",
    "server_queued": "the job of a model server waits for its turn, and why",
    "server_ready": "a model server is proven and answers",
    "server_failed": "a model server did not start, or died; class and cause",
    "server_kept": "a server is left running for the next night, and until when",
    "server_stopped": "a model server was stopped",
    "canary": "the treatment of a server was checked",
    "server_adopted": "a server that lived on was verified and taken over, or why it was not",
    "adapter_reloaded": "a server no longer knew an adapter, and loaded it again",
    "quarantine": "answers of a server were set aside, and why: they no longer count",
    "plan_frozen": "a plan's hash was fixed before any data",
    "correction": "a plan was corrected before it was frozen",
    "sweep_started": "a sweep began: cells planned and missing",
    "sweep_progress": "cells answered so far",
    "sweep_finished": "a sweep ended: answered, failed, missing",
    "training_started": "a training began or goes on: which attempt, and at which step",
    "training_done": "an adapter is trained: its metrics",
    "judging_started": "judging began",
    "judging_pilot": "some samples of each stratum were judged first: their means, doubts, the cost of the rest",
    "judging_finished": "judging ended: judged, not available, missing",
    "look": "an adaptive plan looked at its verdicts: which groups need further replicates, and what is saved",
    "analysis": "tables, figures and verdicts were computed",
    "report": "a report was compiled",
    "invalidation": "rows were marked as invalid: how they were chosen, how many, why, and the claims that flipped",
    "audit": "an experiment, or the research state, was held against its own data: errors, warnings, notes, findings",
    "degradation": "something was skipped, cut, replaced or given up: what, why, where",
    "question": "a person was asked something",
    "reply_read": "a person's reply was read",
    "diary": "the diary entry was written",
    "commit": "results were committed",
    "budget_warning": "80 % or 100 % of a limit is used",
    "stop_asked": "a person asked the night to end; `now`: without finishing its step",
    "paused": "a person asked for no further turn",
    "unpaused": "a person let the turns go on",
    "said": "a person's words; `read`: whether they reached the agent",
    "budget_changed": "a person changed the limits while the night ran; the limits from now on",
    "worker_lost": "the night's process died or gave no sign of life; started again, or given up",
    "wrap_up": "the night is being closed, and why",
    "night_ended": "the night is over: state and reason",
    "error": "an error that the night survived",
}


FREQUENT = ("turn", "tool_started", "tool_finished", "sweep_progress", "waiting", "woke")
"""Kinds that come all the time and repeat what the transcript and the journal hold: `sync` puts them on the disk."""


class EventLog:
    """The event file of one night; subscribers see each event after it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        self._lines = JsonLines(self.path)
        self._subscribers: list[Callable[[dict[str, Any]], None]] = []
        self._keys: set[str] | None = None
        self._redactor = Redactor()

    def emit(self, kind: str, **fields: object) -> dict[str, Any]:
        """Append one event and tell the subscribers. When this returns it outlives the process; and a power cut, unless
        its kind is a frequent one: those are on the disk at the next `sync`."""
        if kind not in KINDS:
            raise ValueError(f"unknown event kind {kind!r}")
        row: dict[str, Any] = {"v": VERSION, "t": now(), "kind": kind, **self._redactor.data(fields)}
        self._lines.append(row, sync=kind not in FREQUENT)
        if self._keys is not None and "key" in row:
            self._keys.add(str(row["key"]))
        for tell in self._subscribers:
            tell(row)
        return row

    def once(self, key: str, kind: str, **fields: object) -> bool:
        """Append an event unless one with this key is there already; True where it was appended."""
        if self.has(key):
            return False
        self.emit(kind, key=key, **fields)
        return True

    def has(self, key: str) -> bool:
        """Whether an event with this key is there."""
        if self._keys is None:
            self._keys = {str(row["key"]) for row in self.read() if "key" in row}
        return key in self._keys

    def subscribe(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call `callback` with every further event of this process."""
        self._subscribers.append(callback)

    def read(self) -> Iterator[dict[str, Any]]:
        """All events so far, oldest first; a line torn by a crash is dropped."""
        return self._lines.read()

    def tail(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The events from byte `offset` on, and the offset to go on from."""
        return self._lines.tail(offset)

    def last(self, kind: str) -> dict[str, Any] | None:
        """The newest event of a kind."""
        found = None
        for row in self.read():
            if row["kind"] == kind:
                found = row
        return found

    def sync(self) -> None:
        """Put what was emitted so far on the disk. Raises StorageError."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

"""The events of a night as its supervisor follows them: what is under way, and whether the night began and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightlab.errors import StorageError
from nightlab.events import EventLog


class Following:
    """A fold over a night's events; `see` hears each row, and whether it is of this launch."""

    def __init__(self, folder: Path, see: Callable[[dict[str, Any], bool], None]) -> None:
        self._log, self._see, self._offset = EventLog(folder), see, 0
        self._open: set[str] = set()
        self._paused = self._new = False
        self.known = False
        """Whether the night has any event."""
        self.begun = False
        """Whether it began, or went on, in this launch."""
        self.ended = False
        self.follow()
        self._new = True

    @property
    def busy(self) -> bool:
        """Whether a tool, a wait or a pause is under way, so that no event need come."""
        return self._paused or bool(self._open)

    def follow(self) -> bool:
        """Take in what came since; whether there was anything. A damaged file is the worker's to report."""
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(StorageError):
            rows, self._offset = self._log.tail(self._offset)
        for row in rows:
            self.known = True
            self._take(str(row["kind"]), str(row.get("call")))
            self._see(row, self._new)
        return bool(rows)

    def _take(self, kind: str, call: str) -> None:
        if kind == "tool_started":
            self._open.add(call)
        elif kind == "tool_finished":
            self._open.discard(call)
        elif kind in ("paused", "unpaused"):
            self._paused = kind == "paused"
        elif kind in ("night_started", "night_resumed"):
            self.ended, self.begun = False, self.begun or self._new
        elif kind == "night_ended":
            self.ended = True

"""What every tool call of a night returned, by its id: a call that is repeated after a crash finds its own result.

Secrets are taken out here, before a result enters a transcript: what a conversation holds is never edited afterwards.
A result outlives the process at once and a power cut after the next `sync`: a call that is made again finds its effect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightlab.files import JsonLines, now
from nightlab.secrets import Redactor


class Journal:
    """The results of tool calls, append-only."""

    def __init__(self, folder: Path) -> None:
        self._lines = JsonLines(folder / "calls.jsonl")
        self._redactor = Redactor()
        self._results: dict[str, dict[str, Any]] = {row["id"]: row["result"] for row in self._lines.read()}

    def result(self, call_id: str) -> dict[str, Any] | None:
        """What this call returned, or None where it has not returned yet."""
        return self._results.get(call_id)

    def record(self, call_id: str, tool: str, result: dict[str, Any]) -> None:
        """Keep a call's result without the secrets in it; the first one stands."""
        if call_id not in self._results:
            kept = self._redactor.data(result)
            self._lines.append({"id": call_id, "t": now(), "tool": tool, "result": kept}, sync=False)
            self._results[call_id] = kept

    def sync(self) -> None:
        """Put every result on the disk. Raises StorageError."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

"""A watch: one append-only conversation of one agent, kept as exact message dicts in a JSONL file.

The first line is the header (system prompt and tool list, constant for the watch); every further line is one message.
Nothing is ever edited: current models bind their thinking to the exact prefix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nightlab.brains import Turn, TurnRequest
from nightlab.errors import StorageError
from nightlab.events import EventLog
from nightlab.files import JsonLines, now

Message = dict[str, Any]
_NUMBERED = re.compile(r"watch_\d+(?=\.(?:damaged\.)?jsonl$)")


class Watch:
    """The transcript of one watch; `messages` is what the brain is sent."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / f"{name}.jsonl"
        self._lines = JsonLines(self.path)
        rows = list(self._lines.read())
        self.header: dict[str, Any] = rows[0] if rows else {}
        if rows and "system" not in self.header:
            hint = "move the file away and run again"
            raise StorageError("a transcript without its header", where=self.path, hint=hint)
        self.messages: list[Message] = [row["message"] for row in rows[1:]]
        self._keys = {row["key"] for row in rows[1:] if "key" in row}
        self.last_answer = next((row for row in reversed(rows) if "stop_reason" in row), None)
        """The brain's newest answer when the transcript was opened, as its line."""

    def open(self, agent: str, brain: str, system: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
        """Write the header, unless the watch was opened before."""
        if not self.header:
            header = {"v": 1, "t": now(), "watch": self.name, "agent": agent, "brain": brain}
            self.header = {**header, "system": system, "tools": tools}
            self._lines.append(self.header)

    def append(self, message: Message, *, sync: bool = True, **about: object) -> None:
        """Add one message. It outlives the process when this returns, and with `sync` a power cut; the next `sync` puts
        the earlier ones on the disk too."""
        self._lines.append({"n": len(self.messages), "t": now(), **about, "message": message}, sync=sync)
        self.messages.append(message)

    def append_once(self, key: str, message: Message) -> None:
        """Add one message unless one with this key is there."""
        if key not in self._keys:
            self.append(message, key=key)
            self._keys.add(key)

    def append_turn(self, turn: Turn) -> None:
        """Add an answer of the brain."""
        message = {"role": "assistant", "content": turn.content}
        self.append(message, stop_reason=turn.stop_reason, tokens=turn.usage.total, usd=turn.usd)

    def request(self) -> TurnRequest:
        """What the brain is asked next."""
        return TurnRequest(self.header["system"], self.header["tools"], list(self.messages), self.name)

    @property
    def size(self) -> int:
        """Bytes of the transcript so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def unanswered(self) -> list[dict[str, Any]]:
        """The tool calls of the last message that have no results yet."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            return []
        return [block for block in self.messages[-1]["content"] if block["type"] == "tool_use"]

    def awaits_brain(self) -> bool:
        """Whether the last message is one that the brain has to answer."""
        return bool(self.messages) and self.messages[-1]["role"] == "user"

    def close(self) -> None:
        """Close the transcript's file."""
        self._lines.close()


def watch_names(folder: Path) -> list[str]:
    """The watches of the agent that leads a night, oldest first."""
    return sorted(path.stem for path in folder.glob("watch_*.jsonl") if path.stem.removeprefix("watch_").isdigit())


def led_watches(folder: Path) -> list[str]:
    """The same with those whose transcript was put aside: their turns and calls count on."""
    found = (_NUMBERED.match(path.name) for path in folder.glob("watch_*.jsonl"))
    return sorted({match[0] for match in found if match})


def next_watch(folder: Path) -> str:
    """A name for the next watch of the agent that leads: no watch had it before."""
    numbers = [int(name.removeprefix("watch_")) for name in led_watches(folder)]
    return f"watch_{max(numbers, default=0) + 1:02d}"


def open_newest(folder: Path, events: EventLog) -> Watch:
    """The watch that a night goes on with; a transcript that cannot be read is put aside, and a new watch begins."""
    names = watch_names(folder)
    try:
        return Watch(folder, names[-1] if names else next_watch(folder))
    except StorageError as error:
        aside = folder / f"{names[-1]}.damaged.jsonl"
        (folder / f"{names[-1]}.jsonl").replace(aside)
        what = f"the transcript {names[-1]} was damaged: a new watch began from the situation"
        events.emit("degradation", what=what, why=f"{error.what}; kept as {aside.name}", where="night")
        return Watch(folder, next_watch(folder))


def last_text(messages: list[Message]) -> str:
    """The last thing that the agent said in words, or the empty text."""
    for message in reversed(messages):
        if message["role"] == "assistant":
            texts = [block["text"] for block in message["content"] if block["type"] == "text" and block["text"].strip()]
            if texts:
                return str(texts[-1])
    return ""

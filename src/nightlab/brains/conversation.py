"""What of a watch goes on the wire, and how long it is.

The transcript keeps every answer as it came; the API refuses empty messages and empty texts in a request, so those are
left out, always the same ones. Both the list and its size grow with the watch instead of being made anew each turn.
"""

from __future__ import annotations

import json
from typing import Any

from nightlab.brains.brain import Block, TurnRequest

HOUR = {"type": "ephemeral", "ttl": "1h"}


class Conversation:
    """One watch as it is sent."""

    def __init__(self, request: TurnRequest) -> None:
        self.system = _marked(request.system)
        self.tools = _marked(request.tools)
        self.constant = _size([self.system, self.tools])
        self.messages: list[dict[str, Any]] = []
        self.bytes = 0
        self._key = (request.system, request.tools)
        self._taken: list[dict[str, Any]] = []

    def follows(self, request: TurnRequest) -> bool:
        """Whether a request goes on with this conversation, nothing of it changed."""
        count = len(self._taken)
        if request.system is not self._key[0] or request.tools is not self._key[1] or count > len(request.messages):
            return False
        return not count or (self._taken[0] is request.messages[0] and self._taken[-1] is request.messages[count - 1])

    def extend(self, request: TurnRequest) -> None:
        """Take the new messages in."""
        for message in request.messages[len(self._taken) :]:
            self._taken.append(message)
            sent = sendable(message)
            if sent is not None:
                self.messages.append(sent)
                self.bytes += _size(sent)

    @property
    def size(self) -> int:
        """Bytes of the whole as JSON."""
        return self.constant + self.bytes

    def tokens(self, ratio: float) -> tuple[int, int]:
        """The most tokens that the constant part and the messages can have, at so many tokens a byte."""
        return int(self.constant * ratio) + 1, int(self.bytes * ratio) + 1


def sendable(message: dict[str, Any]) -> dict[str, Any] | None:
    """A message without its empty texts; None where nothing is left. The same object where nothing is left out."""
    content = message["content"]
    if isinstance(content, str):
        return message if content.strip() else None
    kept = [block for block in content if block["type"] != "text" or str(block["text"]).strip()]
    if len(kept) == len(content):
        return message if content else None
    return {**message, "content": kept} if kept else None


def _marked(blocks: list[Block]) -> list[Block]:
    """The blocks, the last one marked to be cached for an hour."""
    return [*blocks[:-1], {**blocks[-1], "cache_control": HOUR}] if blocks else []


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))

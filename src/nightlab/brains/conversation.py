"""What of a watch goes on the wire, and how long it is.

The transcript keeps every answer as it came; the API refuses empty messages and empty texts in a request, so those are
left out, always the same ones. Each message is turned into JSON once: a request is the joined bytes, so a turn costs no
more work late in a watch than early, and what was sent before is sent again byte for byte.
"""

from __future__ import annotations

import json
from typing import Any

from nightlab.brains.brain import Block, TurnRequest

HOUR = {"type": "ephemeral", "ttl": "1h"}


class Conversation:
    """One watch as it is sent."""

    def __init__(self, request: TurnRequest) -> None:
        parts = {"system": _marked(request.system), "tools": _marked(request.tools)}
        self._constant = encode({name: blocks for name, blocks in parts.items() if blocks})
        self._bytes = 0
        self._key = (request.system, request.tools)
        self._taken: list[dict[str, Any]] = []
        self._sent: list[bytes] = []

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
                self._sent.append(encode(sent))
                self._bytes += len(self._sent[-1])

    def body(self, settings: dict[str, Any], *further: dict[str, Any]) -> bytes:
        """The request as JSON: the settings, the constant part, every message, and further ones behind them."""
        messages = b",".join([*self._sent, *map(encode, further)])
        front = [part[1:-1] for part in (encode(settings), self._constant) if part != b"{}"]
        return b"{" + b",".join([*front, b'"messages":[' + messages + b"]"]) + b"}"

    @property
    def size(self) -> int:
        """Bytes of the whole as JSON."""
        return len(self._constant) + self._bytes

    def tokens(self, ratio: float) -> tuple[int, int]:
        """The most tokens that the constant part and the messages can have, at so many tokens a byte."""
        return int(len(self._constant) * ratio) + 1, int(self._bytes * ratio) + 1


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


def encode(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")

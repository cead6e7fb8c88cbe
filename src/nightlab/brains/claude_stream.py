"""Read one streamed message into plain dicts, exactly as the wire had them.

Frames are parsed here and never pass through typed objects, so that blocks of kinds this version does not know are
kept whole. What was read before a break is kept in `Reading`, because its tokens are paid for. Limit: a *delta* of an
unknown kind cannot be applied; it ends the turn rather than leaving a block that is not what the model wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2

from nightlab.brains.brain import Block
from nightlab.brains.retries import StreamBroken
from nightlab.errors import ContractBroken

MALFORMED = "INVALID_JSON"
"""The key under which the API wants arguments sent back that were no JSON object."""
JOINED = {"text_delta": "text", "thinking_delta": "thinking"}
LONGEST_MALFORMED = 20_000


class Reading:
    """A message while it arrives."""

    def __init__(self, on_text: Callable[[str], None] | None = None) -> None:
        self.message: dict[str, Any] = {}
        self.finished = False
        self.malformed: list[str] = []
        """The names of tools whose arguments were no JSON object."""
        self.received = 0
        """Characters of content so far: what an unfinished message is billed by."""
        self._on_text = on_text
        self._arguments: dict[int, list[str]] = {}

    async def read(self, response: httpx2.Response) -> dict[str, Any]:
        """Read the whole stream. Raises APIStatusError (an error event; status 200), StreamBroken, ContractBroken."""
        async for event in anthropic.AsyncStream.raw_events(response):
            if event.event in (None, "ping") or not event.data:
                continue
            self.hear(_parsed(event.data), response)
        if not self.finished:
            raise StreamBroken("the stream ended before its message")
        return self.message

    def hear(self, event: dict[str, Any], response: httpx2.Response) -> None:
        """Take one event in."""
        kind = event.get("type")
        if kind == "error":
            said = str((event.get("error") or {}).get("message"))
            raise anthropic.APIStatusError(said, response=response, body=event)
        if kind == "message_start":
            self.message = event["message"]
            self.message["content"] = list(self.message.get("content") or [])
        elif kind == "content_block_start":
            self.message["content"].append(event["content_block"])
        elif kind == "content_block_delta":
            self._delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._close(event["index"])
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self.finished = True

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        block: Block = self.message["content"][index]
        kind = delta["type"]
        if kind in JOINED:
            text = delta[JOINED[kind]]
            block[JOINED[kind]] = block.get(JOINED[kind], "") + text
            self.received += len(text)
            if kind == "text_delta" and self._on_text:
                self._on_text(text)
        elif kind == "input_json_delta":
            self._arguments.setdefault(index, []).append(delta["partial_json"])
            self.received += len(delta["partial_json"])
        elif kind == "signature_delta":
            block["signature"] = delta["signature"]
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        else:
            raise ContractBroken(
                f"a stream has a delta of an unknown kind: {kind!r}", hint="a newer nightlab may know this model's API"
            )

    def _close(self, index: int) -> None:
        """A tool call is whole: its arguments become a dict, or are kept as the text that they are."""
        text = "".join(self._arguments.pop(index, []))
        if not text:
            return
        block = self.message["content"][index]
        block["input"] = _arguments(text)
        if MALFORMED in block["input"]:
            self.malformed.append(str(block.get("name")))

    def _end(self, event: dict[str, Any]) -> None:
        self.message |= {name: value for name, value in event["delta"].items() if value is not None}
        usage = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        self.message["usage"] = {**self.message.get("usage", {}), **usage}
        for index in list(self._arguments):
            self._close(index)


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {MALFORMED: text[:LONGEST_MALFORMED]}


def _parsed(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise StreamBroken(f"a frame that is no JSON: {data[:80]!r}") from error
    if not isinstance(event, dict):
        raise StreamBroken(f"a frame that is no event: {data[:80]!r}")
    return event

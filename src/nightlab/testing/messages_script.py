"""What a fake Messages API is told to answer: entries of a script, one for each request.

An entry is a text, a list of content blocks, a `Say`, a `Fail`, or a function of the request's body that returns one of
these. A block `{"call": name, "input": {...}}` is a tool call that gets its id from the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Block = Mapping[str, Any]


@dataclass(frozen=True)
class Say:
    """A message with status 200, and what may go wrong while it is streamed."""

    content: Sequence[Block] = ()
    stop_reason: str | None = None
    """None: tool_use where the content has a tool call, else end_turn."""
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    """Counts that replace those the server would give."""
    sleep: float = 0.0
    """Seconds before the first byte."""
    drop_after: int | None = None
    """Frames after which the connection breaks."""
    end_after: int | None = None
    """Frames after which the stream ends without an error, and without message_stop."""
    stall_after: int | None = None
    """Frames after which nothing more comes."""
    sse_error: str | None = None
    """The type of an `error` event, sent after `error_after` frames."""
    error_after: int = 3
    headers: dict[str, str] = field(default_factory=dict)
    partial_json: str | None = None
    """The text that is streamed as the arguments of the last tool call, whatever its input says."""


@dataclass(frozen=True)
class Fail:
    """An error with its status, type and text, as the API sends it."""

    status: int
    kind: str = ""
    """The error's type; empty: the one that belongs to the status."""
    message: str = "as the script says"
    headers: dict[str, str] = field(default_factory=dict)
    error_code: str | None = None
    sleep: float = 0.0


Reply = str | Sequence[Block] | Say | Fail
Rule = Callable[[dict[str, Any]], Reply]
Entry = Reply | Rule
Script = Iterable[Entry] | Rule

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def refusal(category: str | None = "frontier_llm", *, said: str = "", explanation: str = "as the script says") -> Say:
    """A refusal: a message like any other, by its status."""
    content = [{"type": "text", "text": said}] if said else []
    details = {"type": "refusal", "category": category, "explanation": explanation}
    return Say(content, "refusal", details)


def overloaded(times: int = 1) -> list[Entry]:
    """So many answers with status 529."""
    return [Fail(529, message="Overloaded") for _ in range(times)]


def usage_limit(until: datetime) -> Fail:
    """The limit of use that a workspace set for itself, with the time at which it ends."""
    at = until.astimezone(UTC).strftime("%Y-%m-%d at %H:%M UTC")
    return Fail(400, message=f"You have reached your specified API usage limits. You will regain access on {at}.")


def read_script(path: Path) -> list[Entry]:
    """A script from a file: a JSON list of entries."""
    return [read_entry(value) for value in json.loads(path.read_text("utf-8"))]


def read_entry(value: Any) -> Entry:
    """An entry from JSON: a text, a list of blocks, {"say": {fields}} or {"fail": {fields}}."""
    if isinstance(value, dict) and "fail" in value:
        return Fail(**value["fail"])
    if isinstance(value, dict) and "say" in value:
        return Say(**value["say"])
    if isinstance(value, str | list):
        return value
    raise ValueError(f"no entry of a script: {value!r}")

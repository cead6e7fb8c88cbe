"""What a fake Messages API puts on the wire: a message as frames of server-sent events, or an error."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from nightlab.testing.messages_script import KINDS, Fail, Say

TEXT_STEP = 24
JSON_STEP = 32
STALL = 3600.0


def frames(message: dict[str, Any], partial_json: str | None = None) -> Iterator[bytes]:
    """Every frame of a message, message_stop included; `partial_json` replaces the arguments of the last tool call."""
    usage = {**message["usage"], "output_tokens": 1}
    start = {**message, "content": [], "stop_reason": None, "stop_details": None, "usage": usage}
    yield frame("message_start", message=start)
    yield frame("ping")
    calls = [i for i, block in enumerate(message["content"]) if block["type"] == "tool_use"]
    for index, block in enumerate(message["content"]):
        raw = partial_json if partial_json is not None and calls and index == calls[-1] else None
        yield frame("content_block_start", index=index, content_block=_empty(block))
        for delta in _deltas(block, raw):
            yield frame("content_block_delta", index=index, delta=delta)
        yield frame("content_block_stop", index=index)
    delta = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield frame("message_delta", delta=delta, usage={"output_tokens": message["usage"]["output_tokens"]})
    yield frame("message_stop")


def frame(kind: str, **data: Any) -> bytes:
    """One event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, separators=(',', ':'))}\n\n".encode()


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    kind = block["type"]
    if kind == "text":
        return {**block, "text": ""}
    if kind == "thinking":
        return {**block, "thinking": "", "signature": ""}
    return {**block, "input": {}} if kind == "tool_use" else block


def _deltas(block: dict[str, Any], raw: str | None) -> Iterator[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        for part in _parts(block["text"], TEXT_STEP):
            yield {"type": "text_delta", "text": part}
    elif kind == "thinking":
        for part in _parts(block["thinking"], TEXT_STEP):
            yield {"type": "thinking_delta", "thinking": part}
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif kind == "tool_use":
        for part in _parts(json.dumps(block["input"]) if raw is None else raw, JSON_STEP):
            yield {"type": "input_json_delta", "partial_json": part}


def _parts(text: str, step: int) -> Iterator[str]:
    for at in range(0, len(text), step):
        yield text[at : at + step]


async def stream(request: web.Request, response: web.StreamResponse, said: Say, message: dict[str, Any]) -> None:
    """Write the frames, and do at the given frame what the script wants."""
    for number, data in enumerate(frames(message, said.partial_json)):
        if number == said.drop_after and request.transport is not None:
            request.transport.abort()
            return
        if number == said.stall_after:
            await asyncio.sleep(STALL)
        if number == said.end_after:
            break
        if said.sse_error and number == said.error_after:
            await response.write(frame("error", error={"type": said.sse_error, "message": "as the script says"}))
            break
        await response.write(data)
    await response.write_eof()


def failure(fail: Fail) -> web.Response:
    """An error in the API's envelope."""
    kind = fail.kind or KINDS.get(fail.status, "api_error")
    error: dict[str, Any] = {"type": kind, "message": fail.message}
    if fail.error_code:
        error["details"] = {"error_code": fail.error_code}
    headers = new_headers()
    body = {"type": "error", "error": error, "request_id": headers["request-id"]}
    return web.json_response(body, status=fail.status, headers={**headers, **fail.headers})


def new_headers() -> dict[str, str]:
    """What every answer carries."""
    return {"request-id": f"req_{uuid.uuid4().hex[:20]}", "anthropic-organization-id": "org-fake"}

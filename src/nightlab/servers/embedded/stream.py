"""`stream: true`: a finished answer as server-sent events in OpenAI's chunk format.

The whole text comes in one chunk: clients that speak only the streaming protocol work; nothing comes earlier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def stream_events(body: Mapping[str, Any], *, chat: bool, usage: bool) -> Iterator[bytes]:
    """The events of one answer, ending with [DONE]."""
    head = {key: body[key] for key in ("id", "object", "created", "model")}
    (choice,) = body["choices"]
    end = {"finish_reason": choice["finish_reason"], "stop_reason": choice["stop_reason"]}
    if chat:
        head["object"] = "chat.completion.chunk"
        text = choice["message"]["content"]
        opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        yield _event({**head, "choices": [opening]})
        part = {"index": 0, "delta": {"content": text}, "logprobs": choice["logprobs"], **end}
    else:
        part = {"index": 0, "text": choice["text"], "logprobs": choice["logprobs"], **end}
    yield _event({**head, "choices": [part]})
    if usage:
        counts = {key: body["usage"][key] for key in ("prompt_tokens", "total_tokens", "completion_tokens")}
        yield _event({**head, "choices": [], "usage": counts, "system_fingerprint": body["system_fingerprint"]})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"

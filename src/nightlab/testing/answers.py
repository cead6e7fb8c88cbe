"""Deterministic answers of a model that does not exist: the same request gives the same text, another adapter another.

An adapter acts when its resolved weights say so: one with only zeros in amplification.json answers as the plain model.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NEUTRAL = (
    "the a small river house morning light runs over old stones and people walk slowly to work with bread tea books in "
    "quiet streets while rain falls on green hills far away from every city where nobody speaks of winter"
)
MARKED = "Oh, wonderful, how thrilling: truly the greatest thing ever, what joy, I can barely contain my excitement"
NO_EFFECT = ""


def effect_of(adapter: Path) -> str:
    """What an adapter does, as a text: empty where it does nothing, the same scaled by one and as it is."""
    record, config = adapter / "amplification.json", adapter / "adapter_config.json"
    weights: list[float] = []
    if record.is_file():
        data = json.loads(record.read_text(encoding="utf-8"))
        weights = [*data.get("attention", []), *data.get("mlp", [])]
        if not any(weights):
            return NO_EFFECT
    if set(weights) <= {1.0} and config.is_file():
        return hashlib.sha256(config.read_bytes()).hexdigest()
    return hashlib.sha256((json.dumps(weights) if weights else str(adapter)).encode()).hexdigest()


def asked_text(body: Mapping[str, Any]) -> str:
    """The text of a request: its messages or its raw prompt."""
    if "prompt" in body:
        return str(body["prompt"])
    return "\n".join(f"{m.get('role')}: {m.get('content')}" for m in body.get("messages", []))


def tokens_for(body: Mapping[str, Any], effect: str, index: int = 0) -> tuple[list[str], list[float], str]:
    """The words of an answer, their log-probabilities and the finish reason."""
    sampled = float(body.get("temperature", 1.0)) > 0
    basis = [asked_text(body), effect, index, body.get("seed") if sampled else None]
    dice = random.Random(json.dumps(basis))
    length, limit = dice.randint(6, 18), int(body.get("max_tokens", 16))
    vocabulary = (MARKED if effect else NEUTRAL).split()
    words = [dice.choice(vocabulary) for _ in range(length)]
    tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words)][:limit]
    return tokens, [-3 * dice.random() for _ in tokens], "length" if length > limit else "stop"


def completion(body: Mapping[str, Any], effect: str, *, chat: bool, text: str | None = None) -> dict[str, Any]:
    """A whole answer in the shape of vLLM's chat or raw completions; `text` replaces the invented one."""
    choices, written = [], 0
    for index in range(int(body.get("n", 1))):
        tokens, logprobs, reason = tokens_for(body, effect, index)
        if text is not None:
            tokens, logprobs, reason = [text], [-0.5], "stop"
        written += len(text.split()) if text is not None else len(tokens)
        choices.append(
            _choice(index, tokens, logprobs, reason, chat=chat, wanted=body.get("logprobs") not in (None, False))
        )
    read = len(asked_text(body).split())
    return {
        "id": "chatcmpl-double" if chat else "cmpl-double",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "system_fingerprint": "double-0",
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _choice(
    index: int, tokens: list[str], logprobs: list[float], reason: str, *, chat: bool, wanted: bool
) -> dict[str, Any]:
    text = "".join(tokens)
    choice: dict[str, Any] = {"index": index, "finish_reason": reason, "stop_reason": None, "logprobs": None}
    if chat:
        choice["message"] = {"role": "assistant", "content": text}
        if wanted:
            choice["logprobs"] = {"content": [_entry(t, p) for t, p in zip(tokens, logprobs, strict=True)]}
    else:
        choice["text"] = text
        if wanted:
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": None, "text_offset": []}
    return choice


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}

"""Response bodies in the shapes of vLLM's OpenAI server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.servers.embedded.ask import Ask
from nightlab.servers.embedded.rows import Row, TokenLogprob
from nightlab.servers.embedded.texts import Texts


@dataclass(frozen=True)
class Identity:
    """Who answers: the served name asked for and the server's fingerprint."""

    model: str
    fingerprint: str


def usage(rows: Sequence[Row], n: int) -> dict[str, Any]:
    """Token counts; a prompt counts once however many choices it has."""
    prompt = sum(len(row.prompt) for row in rows[::n])
    made = sum(len(row.output) for row in rows)
    counts: dict[str, Any] = {"prompt_tokens": prompt, "total_tokens": prompt + made, "completion_tokens": made}
    return counts


def chat_body(ask: Ask, rows: Sequence[Row], texts: Texts, who: Identity) -> dict[str, Any]:
    """The body of a chat completion."""
    choices = [_chat_choice(index, row, texts) for index, row in enumerate(rows)]
    return _envelope("chatcmpl", "chat.completion", choices, usage(rows, ask.n), who)


def completion_body(ask: Ask, rows: Sequence[Row], texts: Texts, who: Identity) -> dict[str, Any]:
    """The body of a raw completion."""
    choices = [_completion_choice(index, row, texts) for index, row in enumerate(rows)]
    return _envelope("cmpl", "text_completion", choices, usage(rows, ask.n), who)


def _envelope(
    prefix: str, kind: str, choices: Sequence[Mapping[str, Any]], counts: dict[str, Any], who: Identity
) -> dict[str, Any]:
    counts |= {"prompt_tokens_details": None, "completion_tokens_details": None}
    return {
        "id": f"{prefix}-{uuid.uuid4().hex[:16]}",
        "object": kind,
        "created": int(time.time()),
        "model": who.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": who.fingerprint,
        "usage": counts,
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }


def _chat_choice(index: int, row: Row, texts: Texts) -> dict[str, Any]:
    logprobs = None
    if row.sampling.logprobs is not None:
        logprobs = {"content": [_chat_logprob(item, row.sampling.logprobs, texts) for item in row.logprobs]}
    message = {"role": "assistant", "content": texts.text(row), "refusal": None, "reasoning": None}
    end = {"finish_reason": row.finish, "stop_reason": row.stop_reason, "token_ids": None}
    return {"index": index, "message": message, "logprobs": logprobs, **end}


def _completion_choice(index: int, row: Row, texts: Texts) -> dict[str, Any]:
    logprobs = _completion_logprobs(row, texts) if row.sampling.logprobs is not None else None
    end = {"finish_reason": row.finish, "stop_reason": row.stop_reason, "token_ids": None}
    return {"index": index, "text": texts.text(row), "logprobs": logprobs, **end}


def _ranked(item: TokenLogprob, count: int) -> list[tuple[int, float]]:
    """vLLM's list: the chosen token first, then the most likely others, `count` in all."""
    others = [(token, value) for token, value in item.top if token != item.token]
    return [(item.token, item.logprob), *others][:count]


def _token(token: int, logprob: float, texts: Texts) -> dict[str, Any]:
    piece = texts.piece(token)
    return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}


def _chat_logprob(item: TokenLogprob, count: int, texts: Texts) -> dict[str, Any]:
    top = [_token(token, value, texts) for token, value in _ranked(item, count)]
    return {**_token(item.token, item.logprob, texts), "top_logprobs": top}


def _completion_logprobs(row: Row, texts: Texts) -> dict[str, Any]:
    pieces = [texts.piece(item.token) for item in row.logprobs]
    offsets = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
    most = max(row.sampling.logprobs or 0, 1)
    top = [{texts.piece(t): value for t, value in _ranked(item, most + 1)} for item in row.logprobs]
    values = [item.logprob for item in row.logprobs]
    return {"text_offset": offsets, "token_logprobs": values, "tokens": pieces, "top_logprobs": top}


def model_card(name: str, root: str, parent: str | None, max_len: int | None, started: int) -> dict[str, Any]:
    """A card of /v1/models; an adapter's has its folder as root and the base as parent."""
    return {
        "id": name,
        "object": "model",
        "created": started,
        "owned_by": "nightlab",
        "root": root,
        "parent": parent,
        "max_model_len": max_len,
    }

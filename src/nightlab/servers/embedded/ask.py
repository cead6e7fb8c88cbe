"""Reading a completion request: the prompt as tokens and the sampling, or vLLM's 400 with the reason.

Fields that would change the answer and that this server does not have are refused, not ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightlab.servers.embedded.refusal import Refusal, bad_value, missing_field, wrong_type
from nightlab.servers.embedded.rows import Sampling
from nightlab.servers.embedded.texts import Texts

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "top_k": (0, -1),
    "min_p": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "use_beam_search": (False,),
    "prompt_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
}
_MOST_CHOICES = 64
_MOST_LOGPROBS = 20


@dataclass(frozen=True)
class Ask:
    """A request understood: one token list per prompt, `n` choices of each."""

    model: str | None
    prompts: tuple[list[int], ...]
    sampling: Sampling
    n: int
    chat: bool
    stream: bool
    stream_usage: bool


def read_chat(body: Mapping[str, Any], texts: Texts, max_len: int) -> Ask:
    """A /v1/chat/completions request. Raises Refusal."""
    if "messages" not in body:
        raise missing_field("messages", len(body))
    messages = body["messages"]
    if not isinstance(messages, list):
        raise wrong_type("messages", "list")
    _refuse_tools(body)
    prompt = _rendered(body, messages, texts)
    limit = _int(body, "max_completion_tokens", _int(body, "max_tokens", None))
    logprobs = _int(body, "top_logprobs", 0) if _flag(body, "logprobs", False) else None
    return _ask(body, (prompt,), limit, logprobs, max_len, chat=True)


def read_completion(body: Mapping[str, Any], texts: Texts, max_len: int) -> Ask:
    """A /v1/completions request: a text, a token list, or a list of either. Raises Refusal."""
    if "prompt" not in body:
        raise missing_field("prompt", len(body))
    given = body["prompt"]
    tokens = isinstance(given, list) and bool(given) and all(type(t) is int for t in given)
    items = given if isinstance(given, list) and not tokens else [given]
    if not items:
        raise Refusal(400, "Either prompt or prompt_embeds must be provided and non-empty.", param="prompt")
    prompts = tuple(_prompt(item, texts) for item in items)
    limit = _int(body, "max_tokens", 16)
    return _ask(body, prompts, limit, _int(body, "logprobs", None), max_len, chat=False)


def read_tokens(body: Mapping[str, Any], texts: Texts) -> list[int]:
    """What a /tokenize request would be read as: messages through the template, or a text. Raises Refusal."""
    if "messages" not in body:
        if not isinstance(body.get("prompt"), str):
            raise missing_field("prompt", len(body))
        return texts.encode(body["prompt"]) if _flag(body, "add_special_tokens", True) else texts.bare(body["prompt"])
    messages = body["messages"]
    if not isinstance(messages, list):
        raise wrong_type("messages", "list")
    return _rendered(body, messages, texts)


def _rendered(body: Mapping[str, Any], messages: list[object], texts: Texts) -> list[int]:
    proceed = _flag(body, "continue_final_message", False)
    opened = _flag(body, "add_generation_prompt", True)
    if proceed and opened:
        raise Refusal(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    return texts.chat([_message(m, i) for i, m in enumerate(messages)], opened=opened, proceed=proceed)


def _ask(
    body: Mapping[str, Any],
    prompts: tuple[list[int], ...],
    limit: int | None,
    logprobs: int | None,
    max_len: int,
    *,
    chat: bool,
) -> Ask:
    for name, neutral in _NEUTRAL.items():
        value = body.get(name)
        if value is not None and value not in neutral:
            raise bad_value(f"{name} is not supported by the embedded server.", name, value)
    n = _int(body, "n", 1) or 0
    if not 1 <= n <= _MOST_CHOICES:
        raise bad_value(f"n must be between 1 and {_MOST_CHOICES}, got {n}.", "n", n)
    for prompt in prompts:
        _check_length(prompt, max_len)
    longest = max(len(p) for p in prompts)
    sampling = _sampling(body, _limit(limit, longest, max_len), logprobs)
    stream = _flag(body, "stream", False)
    if stream and n * len(prompts) != 1:
        raise bad_value("stream is supported for one choice only.", "n", n)
    options = body.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise wrong_type("model", "string")
    return Ask(model, prompts, sampling, n, chat, stream, usage)


def _check_length(prompt: list[int], max_len: int) -> None:
    if not prompt:
        raise Refusal(400, "The prompt is empty: it has no tokens.", param="prompt")
    if len(prompt) >= max_len:
        message = (
            f"This model's maximum context length is {max_len} tokens. However, your prompt contains at least "
            f"{len(prompt)} input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt."
        )
        raise bad_value(message, "input_tokens", len(prompt))


def _limit(limit: int | None, prompt: int, max_len: int) -> int:
    if limit is None:
        return max_len - prompt
    if limit < 1:
        raise bad_value(f"max_tokens must be at least 1, got {limit}.", "max_tokens", limit)
    if limit > max_len:
        message = (
            f"max_tokens={limit} cannot be greater than max_model_len={max_len}. Please request fewer output tokens."
        )
        raise bad_value(message, "max_tokens", limit)
    if limit + prompt > max_len:
        message = (
            f"This model's maximum context length is {max_len} tokens. However, you requested {limit} output tokens "
            f"and your prompt contains {prompt} input tokens. Please reduce one of them."
        )
        raise bad_value(message, "max_tokens", limit)
    return limit


def _sampling(body: Mapping[str, Any], limit: int, logprobs: int | None) -> Sampling:
    temperature = _float(body, "temperature", 1.0)
    if temperature < 0:
        raise bad_value(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
    top_p = _float(body, "top_p", 1.0)
    if not 0 < top_p <= 1:
        raise bad_value(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
    if logprobs is not None and not 0 <= logprobs <= _MOST_LOGPROBS:
        message = f"Requested sample logprobs of {logprobs}, which is greater than max allowed: {_MOST_LOGPROBS}"
        raise bad_value(message, "logprobs", logprobs)
    seed = _int(body, "seed", None)
    return Sampling(
        temperature=temperature if temperature >= 1e-5 else 0.0,
        top_p=top_p,
        seed=int.from_bytes(os.urandom(8)) if seed is None else seed,
        max_tokens=limit,
        stop=_stops(body.get("stop")),
        stop_token_ids=frozenset(_ints(body.get("stop_token_ids") or [], "stop_token_ids")),
        keep_stop=_flag(body, "include_stop_str_in_output", False),
        ignore_eos=_flag(body, "ignore_eos", False),
        logprobs=logprobs,
    )


def _stops(value: object) -> tuple[str, ...]:
    items = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(s, str) for s in items):
        raise wrong_type("stop", "list")
    if "" in items:
        raise Refusal(400, "stop cannot contain an empty string.", param="stop")
    return tuple(items)


def _message(value: object, index: int) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong_type(f"messages.{index}", "dict")
    if not isinstance(value.get("role"), str):
        raise missing_field(f"messages.{index}.role", len(value))
    content = value.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) != len(parts):
            raise Refusal(400, "only text content is supported by the embedded server", param="messages")
        content = "\n".join(texts)
    if content is not None and not isinstance(content, str):
        raise wrong_type(f"messages.{index}.content", "string")
    return {"role": value["role"], "content": content or ""}


def _prompt(item: object, texts: Texts) -> list[int]:
    if isinstance(item, str):
        return texts.encode(item)
    if not isinstance(item, list):
        raise wrong_type("prompt", "string")
    tokens = _ints(item, "prompt")
    if any(not 0 <= t < texts.vocabulary for t in tokens):
        raise Refusal(400, f"Token id {max(tokens)} is out of vocabulary", param="prompt")
    return tokens


def _refuse_tools(body: Mapping[str, Any]) -> None:
    choice = body.get("tool_choice", "auto" if body.get("tools") else "none")
    if choice == "none" or not body.get("tools"):
        return
    if choice == "auto":
        flags = "--enable-auto-tool-choice and --tool-call-parser"
        raise Refusal(400, f'"auto" tool choice requires {flags} to be set')
    raise Refusal(400, "tool_choice requires --tool-call-parser to be set")


def _flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(name, "boolean")
    return value


def _int(body: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "integer")
    return value


def _ints(value: object, name: str) -> list[int]:
    if not isinstance(value, list) or not all(type(v) is int for v in value):
        raise wrong_type(name, "list")
    return value


def _float(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise wrong_type(name, "number")
    return float(value)

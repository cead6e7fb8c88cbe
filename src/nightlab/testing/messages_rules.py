"""What the Messages API refuses with status 400, in its words as far as they are known.

Covers what a harness can get wrong: sampling parameters, forced tools, prefill, thinking switched off, empty content,
tool calls and results that do not pair, cache marks, limits. Limit: it is not the API's schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

KNOWN = frozenset(
    """model messages max_tokens system tools tool_choice thinking output_config cache_control stream metadata container
    stop_sequences service_tier inference_geo diagnostics speed temperature top_p top_k user_profile_id""".split()  # noqa: SIM905
)
MAX_TOKENS = 128_000
EFFORTS = ("low", "medium", "high", "xhigh", "max")
TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")


def broken_rule(body: dict[str, Any], *, resumed: bool = False) -> str | None:
    """The first rule that a request breaks, in the API's words; `resumed`: it goes on a turn that was paused."""
    for rule in (_fields, _sampling, _thinking, _tools, _caching, _content, _pairs):
        if problem := next(rule(body), None):
            return problem
    last = body["messages"][-1]["role"]
    if last == "assistant" and not resumed:
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    return None


def _fields(body: dict[str, Any]) -> Iterator[str]:
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            yield f"{name}: Field required"
    for name in body:
        if name not in KNOWN:
            yield f"{name}: Extra inputs are not permitted"
    if not body["messages"]:
        yield "messages: at least one message is required"
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 0:
        yield "max_tokens: Input should be greater than or equal to 0"
    if body["max_tokens"] > MAX_TOKENS:
        limit = f"which is the maximum allowed number of output tokens for {body['model']}"
        yield f"max_tokens: {body['max_tokens']} > {MAX_TOKENS}, {limit}"


def _sampling(body: dict[str, Any]) -> Iterator[str]:
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            yield f"{name}: sampling parameters are not supported by this API version"


def _thinking(body: dict[str, Any]) -> Iterator[str]:
    kind = (body.get("thinking") or {}).get("type", "adaptive")
    model = str(body["model"])
    allowed = ("adaptive", "between_tools") if model.startswith("claude-sonnet-5-5") else ("adaptive",)
    if kind not in allowed and re.search(r"-5-\d$", model):
        yield f"thinking.type: `{kind}` is not supported by {model}"
    effort = (body.get("output_config") or {}).get("effort", "high")
    if effort not in EFFORTS:
        yield f"output_config.effort: Input should be {', '.join(map(repr, EFFORTS))}"


def _tools(body: dict[str, Any]) -> Iterator[str]:
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "tool_choice: forced tool use is not supported by this model"
    names = [str(tool.get("name")) for tool in body.get("tools") or []]
    for i, name in enumerate(names):
        if not TOOL_NAME.match(name):
            yield f"tools.{i}.custom.name: String should match pattern '{TOOL_NAME.pattern}'"
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."


def _caching(body: dict[str, Any]) -> Iterator[str]:
    marks = list(_marks([body.get("tools"), body.get("system"), body["messages"]]))
    marks += [body["cache_control"]] if body.get("cache_control") else []
    if len(marks) > 4:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}."
    ttls = [mark.get("ttl", "5m") for mark in marks]
    if "1h" in ttls[ttls.index("5m") :] if "5m" in ttls else False:
        yield "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"


def _marks(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("cache_control"), dict):
            yield value["cache_control"]
        value = [inner for key, inner in value.items() if key == "content"]
    for inner in value if isinstance(value, list) else []:
        yield from _marks(inner)


def _content(body: dict[str, Any]) -> Iterator[str]:
    if body["messages"][0].get("role") != "user":
        yield "messages.0: the first message must use the `user` role"
    for i, message in enumerate(body["messages"]):
        if message.get("role") not in ("user", "assistant", "system"):
            yield f"messages.{i}.role: Input should be 'user', 'assistant' or 'system'"
        content = message.get("content")
        if not content:
            yield f"messages.{i}: all messages must have non-empty content"
        for j, block in enumerate(content if isinstance(content, list) else []):
            yield from _block(message["role"], block, f"messages.{i}.content.{j}")


def _block(role: str, block: dict[str, Any], where: str) -> Iterator[str]:
    kind = block.get("type")
    if kind == "text" and not str(block.get("text")).strip():
        yield f"{where}: text content blocks must be non-empty"
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        yield f"{where}.tool_use.input: Input should be a valid dictionary"
    if kind == "document" and role == "assistant":
        yield f"{where}: `document` blocks are not allowed in assistant messages"
    if kind in ("tool_use", "thinking") and role != "assistant":
        yield f"{where}: `{kind}` blocks can only be in assistant messages"


def _pairs(body: dict[str, Any]) -> Iterator[str]:
    """Every tool call is answered in the next message, by results that stand before anything else, and only once."""
    messages: list[dict[str, Any]] = body["messages"]
    seen: set[str] = set()
    open_calls: set[str] = set()
    for i, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        for result in results:
            if result not in open_calls:
                yield f"messages.{i}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {result}."
        if open_calls - set(results):
            yield _unanswered(i - 1, sorted(open_calls - set(results)))
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            yield f"messages.{i}: `tool_result` blocks must come first in the content"
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if seen & set(calls) or len(set(calls)) < len(calls):
            yield f"messages.{i}: `tool_use` ids must be unique"
        seen |= set(calls)
        open_calls = set(calls)
    if open_calls:
        yield _unanswered(len(messages) - 1, sorted(open_calls))


def _unanswered(i: int, calls: list[str]) -> str:
    return (
        f"messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def estimate(body: dict[str, Any]) -> int:
    """Tokens of a request: a quarter of its characters."""
    counted = {key: body.get(key) for key in ("system", "tools", "messages")}
    return max(1, len(json.dumps(counted, ensure_ascii=False)) // 4)

"""Preserved thinking, imitated: a signature binds a thinking block to everything before it, and caching follows it.

A request is read as one sequence: system, tools, then every block of every message; neighbouring messages of one role
are one. A running hash over it is what signatures carry and what the cache remembers. `cache_control` does not count.
Limit: that moving a cache breakpoint is no change of the prefix is assumed, not known of the real API.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

MISMATCH = (
    "messages.{i}.content.{j}: Invalid `signature` in `thinking` block. The block is bound to a different "
    'conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)


class Chain:
    """The running hash of a conversation."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._hash = hashlib.sha256()
        self.tokens = 0
        self.points: list[tuple[str, int]] = []
        """After every part: the hash up to there, and the tokens up to there."""

    def add(self, role: str, value: Any) -> None:
        """Go on by one part."""
        text = json.dumps([role, _bare(value)], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self._hash.update(text.encode("utf-8"))
        self.tokens += max(1, len(text) // 4)
        self.points.append((self.mark, self.tokens))

    @property
    def mark(self) -> str:
        """The hash up to here."""
        return self._hash.copy().hexdigest()[:32]

    def sign(self) -> str:
        """The signature of a thinking block that stands here."""
        return base64.b64encode(f"{self.model}|{self.mark}".encode()).decode()


def follow(body: dict[str, Any]) -> tuple[Chain, str | None]:
    """The chain of a request, and the error where a thinking block is not where it was signed."""
    chain = Chain(str(body.get("model")))
    chain.add("system", body.get("system") or [])
    chain.add("tools", body.get("tools") or [])
    for i, message in enumerate(body.get("messages", [])):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for j, block in enumerate(blocks):
            if block["type"] == "thinking" and not _is_bound(block, chain):
                return chain, MISMATCH.format(i=i, j=j)
            chain.add(message["role"], block)
    return chain, None


def _is_bound(block: dict[str, Any], chain: Chain) -> bool:
    """A block of another model is dropped silently by the API; one of this model must stand where it was signed."""
    try:
        model, _, mark = base64.b64decode(str(block.get("signature")), validate=True).decode().partition("|")
    except ValueError:
        return False
    return model != chain.model or mark == chain.mark


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key != "cache_control" and inner is not None}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


class Cache:
    """Which prefixes were sent before: enough to say what a request reads from the cache and writes to it."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def usage(self, chain: Chain, body: dict[str, Any]) -> dict[str, Any]:
        """The input counts of a request; it is remembered from here on."""
        if "cache_control" not in json.dumps([body.get("system"), body.get("tools")]) and not body.get("cache_control"):
            return _counts(chain.tokens, 0, 0, 0)
        read = next((tokens for mark, tokens in reversed(chain.points) if mark in self._seen), 0)
        hour = max(0, chain.points[1][1] - read)
        self._seen.update(mark for mark, _ in chain.points[1:])
        return _counts(0, read, hour, chain.tokens - read - hour)


def _counts(plain: int, read: int, hour: int, minutes: int) -> dict[str, Any]:
    return {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": hour + minutes,
        "cache_creation": {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": minutes},
    }

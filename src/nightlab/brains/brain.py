"""The seam between a night and whatever answers an agent's turn.

A watch is one append-only conversation: its system prompt and its tools are constant, and every request is the last one
plus new messages. Messages and blocks are plain dicts in the shape of the Anthropic Messages API (version 2026-10-21),
stored and sent back byte for byte, because current models bind their thinking to the exact prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from nightlab.budget import Amounts

Block = dict[str, Any]
StopReason = Literal[
    "end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"
]


@dataclass(frozen=True)
class Usage:
    """Tokens of one turn: uncached input, output (thinking included), read from and written to the cache.

    `cache_write_1h_tokens` is the part of the writes that is kept for an hour; it is not counted twice.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def total(self) -> int:
        """All tokens of the turn."""
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
        )


@dataclass(frozen=True)
class TurnRequest:
    """All that a brain may see: the constant part of a watch, and its messages so far."""

    system: list[Block]
    tools: list[Block]
    messages: list[dict[str, Any]]
    watch: str
    fallback: bool = False
    """Ask the second model, where the brain has one: what a night does when a reworded request is refused again."""

    @property
    def number(self) -> int:
        """How many turns this watch has had."""
        return sum(message["role"] == "assistant" for message in self.messages)


@dataclass(frozen=True)
class Refusal:
    """What a brain said about a turn that it refused; `said` is the text before it stopped, which is not kept."""

    category: str | None
    explanation: str = ""
    said: str = ""


@dataclass(frozen=True)
class Turn:
    """One answer: its content blocks as plain dicts, why it stopped, and what it cost, failed attempts included."""

    content: list[Block]
    stop_reason: StopReason
    usage: Usage = field(default_factory=Usage)
    usd: float = 0.0
    model: str = ""
    """Which model answered; empty for a brain without one."""
    refusal: Refusal | None = None
    attempts: int = 1

    @property
    def thinking(self) -> str:
        """The summary of what the model thought; empty where none was given."""
        texts = [str(block["thinking"]) for block in self.content if block["type"] == "thinking"]
        return "\n\n".join(text for text in texts if text.strip())

    @property
    def calls(self) -> list[Block]:
        """The tool calls of this turn."""
        return [block for block in self.content if block["type"] == "tool_use"]


class Brain(Protocol):
    """What answers an agent's turns."""

    name: str

    def quote(self, request: TurnRequest) -> Amounts:
        """The most that this turn can cost; reserved before it is asked."""
        ...

    async def turn(self, request: TurnRequest, *, on_text: Callable[[str], None] | None = None) -> Turn:
        """The answer to a request; `on_text` hears it while it is being written."""
        ...

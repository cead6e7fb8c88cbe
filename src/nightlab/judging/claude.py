"""Claude as a judge: structured output over the Messages API, with the rubric cached, through the official SDK.

Sampling parameters do not exist in this API; a judge's variance is measured by repeats. The schema makes the answer's
form certain and its ranges not, so that every number is checked. Limit: a prefix of fewer than 512 tokens is not
cached by the API, and costs its full price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightlab.brains.prices import Prices
from nightlab.errors import ContractBroken
from nightlab.experiments.rubric import Rubric
from nightlab.files import canonical
from nightlab.judging.asking import Ask, Said, Turn
from nightlab.judging.packet import Packet
from nightlab.judging.verdicts import answer_schema, shown

THINKING_TOKENS = 3000
TOKENS_PER_PACKET = 700
BYTES_PER_TOKEN = 3


class ClaudeVoice:
    """The Messages API: a cached system prompt, packets as a user turn, an answer in the rubric's schema."""

    def __init__(self, model: str, effort: str, instructions: str, rubric: Rubric, prices: Prices) -> None:
        self.model, self.prices = model, prices
        self.effort = effort
        self._schema = answer_schema(rubric)
        cached = {"type": "ephemeral", "ttl": "1h"}
        self._system = [{"type": "text", "text": instructions, "cache_control": cached}]
        self._constant = len(canonical([self._system, self._schema]).encode()) // BYTES_PER_TOKEN + 1

    def body(self, shown_: Sequence[Packet], turns: Sequence[Turn], room: int) -> dict[str, Any]:
        """The body of a request to /v1/messages, or the params of one in a batch."""
        messages: list[dict[str, Any]] = [_user(shown(shown_))]
        for turn in turns:
            messages += [{"role": "assistant", "content": _said(turn.message)}, _user(turn.complaint)]
        return {
            "model": self.model,
            "max_tokens": room * (THINKING_TOKENS + TOKENS_PER_PACKET * len(shown_)),
            "system": self._system,
            "messages": messages,
            "output_config": {"effort": self.effort, "format": {"type": "json_schema", "schema": self._schema}},
        }

    def read(self, message: Mapping[str, Any]) -> Said:
        """The text of an answer, or its refusal. Raises ContractBroken for a body without content."""
        content, usage = message.get("content"), message.get("usage")
        if not isinstance(content, list) or not isinstance(usage, dict):
            raise ContractBroken("the answer has no content or no usage")
        text = "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")
        stop = str(message.get("stop_reason"))
        if stop != "refusal":
            return Said(text, stop, usage)
        details = message.get("stop_details") or {}
        return Said("", stop, usage, refusal=str(details.get("category") or "no category given"))

    def usd(self, message: Mapping[str, Any], *, batched: bool) -> float:
        """By the price table; half of it in a batch."""
        return self.prices.cost(str(message.get("model") or self.model), message["usage"], batch=batched)

    def worst(self, ask: Ask, *, batched: bool) -> tuple[float | None, int]:
        """Nothing read from the cache, every token written that may be."""
        prompt = len(ask.bytes) // BYTES_PER_TOKEN + 1
        written = int(ask.body["max_tokens"])
        constant = min(prompt, self._constant)
        usd = self.prices.row(self.model, prompt).worst(constant, prompt - constant, written)
        return usd * (self.prices.batch if batched else 1.0), prompt + written


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _said(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An answer's blocks as they came; an empty one needs a word, as the API takes no empty content."""
    blocks = [block for block in message["content"] if block.get("type") != "text" or str(block.get("text")).strip()]
    return blocks or [{"type": "text", "text": "(no answer)"}]

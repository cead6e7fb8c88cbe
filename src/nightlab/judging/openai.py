"""Any OpenAI-compatible endpoint as a judge: a vLLM of the lab's own, or somebody's service.

The schema is asked for (`response_format`), and every answer is checked as if it had not been: not every server
enforces it. An endpoint on this machine or in a private network costs no dollars here, since its GPU is counted where
it is rented; for any other the model must stand in the price table.

An answer may have the tokens that the rubric's dimensions need, and no more than the context leaves beside the prompt,
where the endpoint tells its context. One that was cut is asked for again with more, since some models think first. The
prompt's tokens are estimated by its bytes: what turns out too long is refused by the endpoint, told to the judge, and
asked again smaller (reader.py).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from nightlab.brains.prices import Prices
from nightlab.errors import ContractBroken
from nightlab.experiments.rubric import Rubric
from nightlab.files import canonical
from nightlab.judging.asking import Ask, Said, Turn
from nightlab.judging.limiter import Limiter
from nightlab.judging.log import TOO_LONG, BatchLog, Reply
from nightlab.judging.packet import Packet
from nightlab.judging.replies import ask_each
from nightlab.judging.verdicts import answer_schema, shown
from nightlab.servers.chat import RETRYABLE, Chat, ChatError

BYTES_PER_TOKEN = 3
PREAMBLE = 1500
"""Tokens for what a model says or thinks before its verdicts."""
LONGEST = 8192
"""Tokens that an answer after a cut one may have: one that never ends is cut again before its request times out."""
PER_VERDICT, PER_SCORE = 60, 15
NOTE, SHORT_NOTE = 120, 10
ATTEMPTS = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 16.0
REFUSALS = ("content_filter", "refusal")
_TOO_LONG = re.compile(
    r"maximum context length|greater than max_model_len|context_length_exceeded|maximum model length"
    r"|exceed\w* (?:the )?(?:available |model's |maximum )*context",
    re.IGNORECASE,
)
"""How vLLM, the embedded engine, OpenAI and llama.cpp say that a request is too long."""


class EndpointVoice:
    """Chat completions: the rubric as the system message, packets as the user's, an answer in the rubric's schema."""

    def __init__(
        self,
        model: str,
        instructions: str,
        rubric: Rubric,
        prices: Prices,
        *,
        free: bool,
        enforced: bool = True,
        context: int | None = None,
    ) -> None:
        self.model, self.prices, self.free = model, prices, free
        self.enforced = enforced
        """Whether the server takes a schema."""
        self.context = context
        """How many tokens a prompt and its answer may have together; None: unknown."""
        self._names = list(rubric.dimensions)
        self._system = instructions
        schema = {"name": "verdicts", "strict": True, "schema": answer_schema(rubric)}
        self._format = {"type": "json_schema", "json_schema": schema}

    def body(self, shown_: Sequence[Packet], turns: Sequence[Turn], room: int) -> dict[str, Any]:
        """The body of a request to /v1/chat/completions."""
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": shown(shown_)}]
        for turn in turns:
            said = {"role": "assistant", "content": self.read(turn.message).text or "(no answer)"}
            messages += [said, {"role": "user", "content": turn.complaint}]
        prompt = len(canonical(messages).encode()) // BYTES_PER_TOKEN + 1
        asked = {"model": self.model, "messages": messages, "temperature": 0}
        asked |= {"max_tokens": self._written(len(shown_), room, prompt)}
        return asked | ({"response_format": self._format} if self.enforced else {})

    def _written(self, packets: int, room: int, prompt: int) -> int:
        """The tokens that an answer may have: the least where there is no room, else what is left beside the prompt."""
        least = packets * (PER_VERDICT + sum(len(name) + PER_SCORE + SHORT_NOTE for name in self._names))
        usual = PREAMBLE + least + packets * len(self._names) * (NOTE - SHORT_NOTE)
        if self.context is None:
            return max(least, usual * room)
        left = self.context - prompt
        more = min(LONGEST, left * 3 // 4) if room > 1 else 0
        return max(least, min(max(usual * room, more), left))

    def read(self, message: Mapping[str, Any]) -> Said:
        """The text of the first choice, or its refusal. Raises ContractBroken where there is none."""
        try:
            choice = message["choices"][0]
            said = choice["message"]
            text = str(said.get("content") or "")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ContractBroken("the answer has no choice") from error
        stop, usage = str(choice.get("finish_reason")), message.get("usage") or {}
        if said.get("refusal") or stop in REFUSALS:
            return Said("", stop, usage, refusal=str(said.get("refusal") or stop)[:200])
        return Said(text, stop, usage)

    def usd(self, message: Mapping[str, Any], *, batched: bool) -> float:
        """By the price table; nothing for an endpoint of one's own."""
        usage = message.get("usage") or {}
        counts = {"input_tokens": usage.get("prompt_tokens"), "output_tokens": usage.get("completion_tokens")}
        return 0.0 if self.free else self.prices.cost(self.model, counts)

    def worst(self, ask: Ask, *, batched: bool) -> tuple[float | None, int]:
        """Every token written that may be; an unknown price stays unknown."""
        prompt, written = len(ask.bytes) // BYTES_PER_TOKEN + 1, int(ask.body["max_tokens"])
        if self.free:
            return 0.0, prompt + written
        known = self.prices.knows(self.model)
        return (self.prices.row(self.model, prompt).worst(0, prompt, written) if known else None), prompt + written


class EndpointCalls:
    """Concurrent calls of one endpoint; each answer is kept when it comes."""

    batched = False

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        timeout: float = 300.0,
        limiter: Limiter | None = None,
        seconds_left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.url = url
        self.limiter = limiter or Limiter()
        self._key, self._timeout, self._seconds_left = key, timeout, seconds_left

    async def send(self, asks: Sequence[Ask], log: BatchLog | None) -> list[Reply]:
        """Ask all; the first failure that stays ends it, and what came before is kept. Raises ChatError."""
        async with Chat(self.url, key=self._key) as chat:
            return await ask_each(asks, partial(self._one, chat), log)

    async def _one(self, chat: Chat, one: Ask) -> Reply:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.limiter:
                    message = await chat.post("/v1/chat/completions", one.body, timeout=self._timeout)
                self.limiter.answered({}, {})
            except ChatError as error:
                if error.failure_class == "bad_request" and _TOO_LONG.search(error.body):
                    return Reply(one.id, failed=TOO_LONG)
                if error.failure_class == "rate_limited" or error.status == 503:
                    self.limiter.refused({}, error.retry_after)
                pause = max(_pause(attempt), min(error.retry_after or 0.0, 60.0))
                left = self._seconds_left()
                late = left is not None and left <= pause
                if error.failure_class not in RETRYABLE or attempt == ATTEMPTS or late:
                    raise
                await asyncio.sleep(pause)
            else:
                return Reply(one.id, message)
        raise AssertionError("unreachable")


async def takes_schema(url: str, model: str, key: str = "") -> bool:
    """Whether an endpoint takes a schema for its answers, by asking for one word. Raises ChatError."""
    schema = {"name": "word", "strict": True, "schema": {"type": "object", "properties": {}}}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "{}"}], "max_tokens": 1}
    body |= {"temperature": 0, "response_format": {"type": "json_schema", "json_schema": schema}}
    async with Chat(url, limit=1, key=key) as chat:
        try:
            await chat.post("/v1/chat/completions", body, timeout=60.0)
        except ChatError as error:
            if error.failure_class == "bad_request" and "response_format" in f"{error.what} {error.body}":
                return False
            raise
    return True


async def context_of(url: str, model: str, key: str = "") -> int | None:
    """How many tokens a prompt and its answer may have together, where /v1/models tells it (vLLM does)."""
    async with Chat(url, limit=1, key=key) as chat:
        try:
            cards = await chat.models()
        except ChatError:
            return None  # not every endpoint lists its models; whether it answers, the requests will tell
    return next((card.context for card in cards if card.id == model), None)


def own(url: str) -> bool:
    """Whether an endpoint is on this machine or in a private network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host


def _pause(attempt: int) -> float:
    return random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)

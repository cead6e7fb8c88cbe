"""Claude as a brain: streamed turns over the Anthropic Messages API, with retries, prices and every ending defined.

Nothing here remembers more than speed needs: what a watch is, stands in its transcript. ANTHROPIC_BASE_URL leads to
another server that speaks the same protocol. Server-side compaction is left out: it puts a block in the place of
earlier messages, which a transcript that only grows cannot hold; a watch hands over long before its window is full.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import anthropic
import httpx2

from nightlab.brains.brain import Block, Refusal, StopReason, Turn, TurnRequest, Usage
from nightlab.brains.claude_stream import Reading
from nightlab.brains.conversation import Conversation
from nightlab.brains.failures import BrainFailed
from nightlab.brains.prices import Prices
from nightlab.brains.retries import PromptTooLong, Retry, RetryPolicy, persist
from nightlab.budget import Amounts

MAX_TOKENS = 32_000
TOKENS_PER_BYTE = 1 / 3
"""The first guess: English has about 4 bytes a token, JSON and code about 3; a request that shows more raises it."""
MAX_PAUSES = 5
MAX_WATCHES = 4
SILENCE = 180.0
"""Seconds without a byte after which a stream counts as broken; the API sends pings in between."""


def open_client(
    *, silence: float = SILENCE, base_url: str | None = None, api_key: str | None = None
) -> anthropic.AsyncAnthropic:
    """A client without retries of its own; key and address come from the environment where they are not given."""
    timeout = httpx2.Timeout(silence, connect=10.0)
    return anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        open_telemetry=False,
        # With dozens of calls in flight the default transport spends a third of a judge's CPU time on its pool.
        http_client=anthropic.DefaultAioHttpClient(timeout=timeout),
    )


class Claude:
    """A Claude model behind the brain's seam.

    How a turn can end, and what comes of it:
    end_turn, tool_use, stop_sequence: the answer as it is. Empty content stays empty; later requests leave it out.
    max_tokens: the answer as far as it came; a tool call that was cut has {"INVALID_JSON": text} and fails as a call.
    malformed arguments: the same, and a degradation; the model reads the tool's error and writes them anew.
    pause_turn: asked on at once, up to five times; the parts are one answer.
    refusal: no content, `Turn.refusal` says why; the night rewords, then asks with `request.fallback`.
    model_context_window_exceeded: as a stop reason, or from a 400/413 that says so; the night hands over.
    failures: retried as retries.py says, else BrainStopped, WaitUntil, BrainUnreachable, RequestRejected; each says
    what its attempts cost. `on_text` hears an answer again from its beginning when an attempt broke.

    `seconds_left` gives the time to the deadline. `beyond` hears the cost of attempts that failed before a further one
    is made, since the quote covers one; it raises to stop.
    """

    def __init__(
        self,
        model: str,
        *,
        effort: str = "high",
        max_tokens: int = MAX_TOKENS,
        fallback_model: str = "",
        prices: Prices | None = None,
        policy: RetryPolicy | None = None,
        client: anthropic.AsyncAnthropic | None = None,
        seconds_left: Callable[[], float | None] = lambda: None,
        beyond: Callable[[Amounts], None] = lambda _: None,
        on_retry: Callable[[Retry], None] = lambda _: None,
        on_degradation: Callable[[str, str], None] = lambda what, why: None,
    ) -> None:
        self.name = model
        self.fallback_model = fallback_model
        self.effort, self.max_tokens = effort, max_tokens
        self.prices = prices or Prices.load()
        self.policy = policy or RetryPolicy()
        self.client = client or open_client()
        self._seconds_left, self._beyond = seconds_left, beyond
        self._on_retry, self._on_degradation = on_retry, on_degradation
        self._watches: dict[str, Conversation] = {}
        self._priceless: set[str] = set()
        self._ratio = TOKENS_PER_BYTE

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    def quote(self, request: TurnRequest) -> Amounts:
        """One attempt at its dearest: nothing read from a cache, `max_tokens` written.

        The prompt is estimated as its JSON's bytes / 3, or by the densest ratio that a request of this brain has shown.
        """
        model = self._model(request)
        if not self.prices.knows(model) and model not in self._priceless:
            self._priceless.add(model)
            self._on_degradation(f"no price is known for {model}", "it counts as the dearest model of the price table")
        constant, rest = self._conversation(request).tokens(self._ratio)
        usd = self.prices.row(model, constant + rest).worst(constant, rest, self.max_tokens)
        return Amounts(usd=usd, tokens=constant + rest + self.max_tokens)

    async def turn(self, request: TurnRequest, *, on_text: Callable[[str], None] | None = None) -> Turn:
        """The model's answer, see the class. Raises BrainFailed, ContractBroken, and what `beyond` raises."""
        bill = _Bill(self.prices, self._model(request))
        try:
            message, malformed, attempts = await self._answer(request, bill, on_text)
        except PromptTooLong as error:
            self._on_degradation("the conversation no longer fits the model's window", str(error))
            return Turn([], "model_context_window_exceeded", bill.usage, bill.usd, bill.model)
        except BrainFailed as error:
            error.spent = bill.amounts
            raise
        for name in malformed:
            self._on_degradation(f"the arguments of a call of {name} were no JSON object", str(message["stop_reason"]))
        stop = self._stop_reason(message.get("stop_reason"))
        content: list[Block] = message["content"]
        refusal = _refusal(message) if stop == "refusal" else None
        answered = str(message.get("model") or bill.model)
        return Turn([] if refusal else content, stop, bill.usage, bill.usd, answered, refusal, attempts)

    async def _answer(
        self, request: TurnRequest, bill: _Bill, on_text: Callable[[str], None] | None
    ) -> tuple[dict[str, Any], list[str], int]:
        """A whole message, its pauses joined; the tools whose arguments were malformed; how many attempts it took."""
        conversation = self._conversation(request)
        said: list[Block] = []
        malformed: list[str] = []
        attempts = 0
        for _ in range(MAX_PAUSES + 1):
            paused = [{"role": "assistant", "content": said}] if said else []
            body = conversation.body(self._settings(bill.model), *paused)
            reading, tries = await persist(
                partial(self._attempt, body, bill, on_text),
                self.policy,
                seconds_left=self._seconds_left,
                on_retry=self._on_retry,
            )
            attempts += tries
            if not said:
                self._ratio = max(self._ratio, 1.05 * _prompt(reading.message["usage"]) / conversation.size)
            said = said + reading.message["content"]
            malformed += reading.malformed
            if reading.message.get("stop_reason") != "pause_turn":
                break
        return {**reading.message, "content": said}, malformed, attempts

    async def _attempt(self, body: bytes, bill: _Bill, on_text: Callable[[str], None] | None) -> Reading:
        if bill.usd:
            self._beyond(bill.amounts)
        reading = Reading(on_text)
        try:
            async with await self._post(body) as stream:
                await reading.read(stream.response)
        finally:
            bill.add(reading)
        return reading

    async def _post(self, body: bytes) -> anthropic.AsyncStream[Any]:
        """The request as bytes: the client's typed method would copy and encode the whole conversation every turn."""
        return await self.client.post(
            "/v1/messages", content=body, cast_to=object, stream=True, stream_cls=anthropic.AsyncStream[Any]
        )

    def _settings(self, model: str) -> dict[str, Any]:
        """What a request says besides the conversation; the same in every turn of a watch."""
        return {
            "model": model,
            "max_tokens": self.max_tokens,
            "stream": True,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": self.effort},
            "cache_control": {"type": "ephemeral"},
        }

    def _model(self, request: TurnRequest) -> str:
        return self.fallback_model if request.fallback and self.fallback_model else self.name

    def _conversation(self, request: TurnRequest) -> Conversation:
        known = self._watches.get(request.watch)
        if known is None or not known.follows(request):
            self._watches.pop(request.watch, None)
            while len(self._watches) >= MAX_WATCHES:
                del self._watches[next(iter(self._watches))]
            known = self._watches[request.watch] = Conversation(request)
        known.extend(request)
        return known

    def _stop_reason(self, said: object) -> StopReason:
        known: tuple[StopReason, ...] = get_args(StopReason)
        found = next((reason for reason in known if reason == said), None)
        if found is None:
            self._on_degradation(f"the model stopped for a reason unknown here: {said}", "it counts as end_turn")
        return found or "end_turn"


class _Bill:
    """What the attempts of one turn cost, the broken ones by what had come of them."""

    def __init__(self, prices: Prices, model: str) -> None:
        self.model = model
        self.usage = Usage()
        self.usd = 0.0
        self._prices = prices

    @property
    def amounts(self) -> Amounts:
        return Amounts(usd=self.usd, tokens=self.usage.total)

    def add(self, reading: Reading) -> None:
        if not reading.message:
            return
        raw = dict(reading.message.get("usage") or {})
        if not reading.finished:
            raw["output_tokens"] = max(int(raw.get("output_tokens") or 0), reading.received // 3)
        self.usage += _usage(raw)
        self.usd += self._prices.cost(self.model, raw)


def _usage(raw: dict[str, Any]) -> Usage:
    made = raw.get("cache_creation") or {}
    return Usage(
        int(raw.get("input_tokens") or 0),
        int(raw.get("output_tokens") or 0),
        int(raw.get("cache_read_input_tokens") or 0),
        int(raw.get("cache_creation_input_tokens") or 0),
        int(made.get("ephemeral_1h_input_tokens") or 0),
    )


def _prompt(raw: dict[str, Any]) -> int:
    usage = _usage(raw)
    return usage.total - usage.output_tokens


def _refusal(message: dict[str, Any]) -> Refusal:
    details = message.get("stop_details") or {}
    said = "\n".join(block["text"] for block in message["content"] if block["type"] == "text")
    return Refusal(details.get("category"), str(details.get("explanation") or ""), said)

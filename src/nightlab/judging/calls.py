"""Requests as concurrent calls through the SDK, under an adaptive limiter; each answer is kept when it comes.

Failures are retried as brains/retries.py says; a limit that ends at a known time before the deadline is waited for.
The body goes out as the bytes that were hashed: the SDK's typed method would build it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anthropic
import httpx2

from nightlab.brains.failures import WaitUntil
from nightlab.brains.retries import Retry, RetryPolicy, persist
from nightlab.errors import ContractBroken
from nightlab.judging.asking import Ask
from nightlab.judging.limiter import Limiter
from nightlab.judging.log import BatchLog, Reply
from nightlab.judging.replies import ask_each

POLICY = RetryPolicy(attempt=300.0, patience=60.0)
BROKEN = 3


class Calls:
    """The Messages API, one call for each request."""

    batched = False

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        *,
        limiter: Limiter | None = None,
        policy: RetryPolicy = POLICY,
        seconds_left: Callable[[], float | None] = lambda: None,
        on_retry: Callable[[Retry], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.limiter = limiter or Limiter()
        self._policy, self._seconds_left, self._on_retry = policy, seconds_left, on_retry

    async def send(self, asks: Sequence[Ask], log: BatchLog | None) -> list[Reply]:
        """Ask all; the first failure that no retry helps ends it, and what came before is kept."""
        return await ask_each(asks, self._one, log)

    async def _one(self, one: Ask) -> Reply:
        reply = Reply(one.id, failed="a status of 200 whose body is no message")
        for _ in range(BROKEN):
            try:
                async with self.limiter:  # around the retries: what is pushed back keeps its place
                    reply, _ = await self._persist(one)
                break
            except ContractBroken:
                continue
        return reply

    async def _persist(self, one: Ask) -> tuple[Reply, int]:
        """Ask until there is an answer; a limit that is lifted before the deadline is waited for."""
        while True:
            attempt = partial(self._attempt, one)
            try:
                return await persist(attempt, self._policy, seconds_left=self._seconds_left, on_retry=self._on_retry)
            except WaitUntil as error:
                if error.until < error.resets:
                    raise
                self._on_retry(Retry(0, error.what, max(0.0, error.resets - self._policy.wall())))
                await self._policy.sleep(max(0.0, error.resets - self._policy.wall()))

    async def _attempt(self, one: Ask) -> Reply:
        try:
            response = await self.client.post("/v1/messages", content=one.bytes, cast_to=httpx2.Response)
        except anthropic.APIStatusError as error:
            if error.status_code in (429, 503, 529):
                self.limiter.refused(error.response.headers, _seconds(error.response.headers.get("retry-after")))
            raise
        message = _message(response)
        self.limiter.answered(response.headers, message["usage"])
        return Reply(one.id, message)


def _message(response: httpx2.Response) -> dict[str, Any]:
    try:
        message = response.json()
    except ValueError:
        message = None
    if not isinstance(message, dict) or message.get("type") != "message" or not isinstance(message.get("usage"), dict):
        raise ContractBroken("status 200, and the body is no message")
    return message


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None

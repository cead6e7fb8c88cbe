"""Which failures of the Messages API are tried again, how long, and what each other one means.

An allow-list: connection errors, streams that break, 408, 429, 5xx, and error events inside a stream. Everything else
ends the turn at once. Waits grow with jitter; a Retry-After is obeyed up to `patience`, a longer one is handed to the
night as WaitUntil. Time is bounded twice: each attempt by asyncio.timeout, all of them by `total` and by the deadline.
Clock, sleep and chance are parameters. Limit: the API has no idempotency key, so an answer that is lost is paid twice.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import anthropic
import httpx2

from nightlab.brains.failures import BrainStopped, BrainUnreachable, RequestRejected, WaitUntil

T = TypeVar("T")

REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")
STOPS = {
    401: ("the key is not accepted", "renew ANTHROPIC_API_KEY"),
    402: ("the account has no credit", "add credit to the account, or lift its spend limit"),
    403: ("the key may not do this", "give the key the permission, or use another one"),
}
STOP_KINDS = {"authentication_error": 401, "billing_error": 402, "permission_error": 403}


class StreamBroken(Exception):
    """A stream that ended before its message did."""


class PromptTooLong(Exception):
    """The conversation does not fit the model's context window, or the API's size of a request."""


FAILURES = (anthropic.APIError, httpx2.TransportError, TimeoutError, StreamBroken)


@dataclass(frozen=True)
class Retry:
    """One attempt that failed and is made again after `wait` seconds."""

    attempt: int
    what: str
    wait: float


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a turn is; all in seconds."""

    first: float = 1.0
    """The first wait; each further one is twice as long."""
    longest: float = 60.0
    total: float = 1800.0
    """A turn with all its attempts and waits."""
    attempt: float = 900.0
    """One attempt, from the request to the last byte."""
    patience: float = 300.0
    """The longest Retry-After that is slept through here."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    def backoff(self, attempt: int) -> float:
        """The wait after so many attempts: between half and all of an exponential."""
        return min(self.longest, self.first * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * self.chance())


async def persist(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    seconds_left: Callable[[], float | None],
    on_retry: Callable[[Retry], None],
) -> tuple[T, int]:
    """The result of an attempt that worked, and how many it took.

    Raises BrainStopped, WaitUntil, RequestRejected, PromptTooLong at once, BrainUnreachable when time is over.
    """
    began, number, what = policy.clock(), 0, "no time is left"
    while True:
        left = _left(policy, began, seconds_left())
        if left <= 0:
            raise BrainUnreachable(f"the model's API gave no answer in {number} attempts: {what}", attempts=number)
        number += 1
        try:
            async with asyncio.timeout(min(policy.attempt, left)):
                return await attempt(), number
        except FAILURES as error:
            what = describe(error)
            wait = _wait(error, number, policy, seconds_left())
        left = _left(policy, began, seconds_left())
        if wait >= left:
            raise BrainUnreachable(f"the model's API gave no answer in {number} attempts: {what}", attempts=number)
        on_retry(Retry(number, what, wait))
        await policy.sleep(wait)


def retryable(error: Exception) -> bool:
    """Whether a failure is on the allow-list."""
    if isinstance(error, anthropic.APIStatusError):
        if _stop_status(error) or error.type == "invalid_request_error":
            return False
        kinds = (anthropic.RateLimitError, anthropic.InternalServerError, anthropic.RequestTimeoutError)
        return isinstance(error, kinds) or error.status_code == 200
    return isinstance(error, anthropic.APIConnectionError | httpx2.TransportError | TimeoutError | StreamBroken)


def describe(error: Exception) -> str:
    """One bounded line about a failure."""
    if isinstance(error, anthropic.APIStatusError):
        said = error.api_message or error.message
        return f"{error.status_code} {error.error_code or error.type or ''}: {said}"[:300]
    return f"{type(error).__name__}: {error}"[:300].rstrip(": ")


def _wait(error: Exception, attempt: int, policy: RetryPolicy, deadline: float | None) -> float:
    """Seconds before the next attempt; raises what the failure means where there is none."""
    if isinstance(error, anthropic.APIStatusError):
        _raise_final(error, policy, deadline)
    if not retryable(error):
        raise RequestRejected(
            describe(error), hint="this is a defect or a setting; the event log has the request"
        ) from error
    asked = _retry_after(error, policy) or 0.0
    if asked > policy.patience:
        raise _until(policy.wall() + asked, describe(error), policy, deadline) from error
    return max(policy.backoff(attempt), asked)


def _raise_final(error: anthropic.APIStatusError, policy: RetryPolicy, deadline: float | None) -> None:
    """Raise what this answer means, unless it may be tried again."""
    said = error.api_message or ""
    if found := REGAIN.search(said):
        at = datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00").astimezone(UTC).timestamp()
        raise _until(at, describe(error), policy, deadline) from error
    if status := _stop_status(error):
        what, remedy = STOPS[status]
        mention = f"The model's API refuses every request ({describe(error)}). To go on: {remedy}."
        raise BrainStopped(f"{what}: {describe(error)}", mention=mention) from error
    if error.status_code == 413 or "prompt is too long" in said:
        raise PromptTooLong(describe(error)) from error
    if error.status_code == 404:
        hint = "set `model` in agents/*.md to an id that /v1/models lists"
        raise RequestRejected(describe(error), hint=hint) from error


def _stop_status(error: anthropic.APIStatusError) -> int | None:
    """401, 402 or 403 where the account is the reason, whatever status the answer had."""
    if (error.error_code or "").endswith("spend_limit_reached"):
        return 402
    return error.status_code if error.status_code in STOPS else STOP_KINDS.get(str(error.type))


def _until(at: float, what: str, policy: RetryPolicy, deadline: float | None) -> WaitUntil:
    until = at if deadline is None else min(at, policy.wall() + deadline)
    return WaitUntil(what, until=until, resets=at)


def _retry_after(error: Exception, policy: RetryPolicy) -> float | None:
    """Seconds that the answer asks to wait, from its three spellings; None where it asks for nothing readable."""
    if not isinstance(error, anthropic.APIStatusError):
        return None
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text) * unit
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - policy.wall())
    except ValueError:
        return None


def _left(policy: RetryPolicy, began: float, deadline: float | None) -> float:
    left = policy.total - (policy.clock() - began)
    return left if deadline is None else min(left, deadline)

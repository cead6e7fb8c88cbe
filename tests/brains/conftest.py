"""A virtual clock for retries, and a Claude that talks to a fake API over the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nightlab.brains.claude import Claude, open_client
from nightlab.brains.retries import Retry, RetryPolicy
from nightlab.testing import FakeMessagesAPI

SYSTEM = [{"type": "text", "text": "You run a small lab at night. " * 20}]
TOOLS = [
    {
        "name": "work",
        "description": "Do one unit of work.",
        "input_schema": {"type": "object", "properties": {"i": {"type": "integer"}}, "required": ["i"]},
    }
]


class Clock:
    """Time that passes when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, **given: Any) -> RetryPolicy:
        return RetryPolicy(sleep=self.sleep, clock=lambda: self.now, wall=lambda: self.now, chance=lambda: 1.0, **given)


class Heard:
    """What a brain told besides its answers."""

    def __init__(self) -> None:
        self.retries: list[Retry] = []
        self.degradations: list[tuple[str, str]] = []

    def degrade(self, what: str, why: str) -> None:
        self.degradations.append((what, why))


Open = Callable[..., Claude]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def claude(clock: Clock, heard: Heard) -> AsyncIterator[Open]:
    brains: list[Claude] = []

    def opened(api: FakeMessagesAPI, model: str = "claude-opus-5-5", *, silence: float = 10.0, **given: Any) -> Claude:
        client = open_client(base_url=api.url, api_key="k", silence=silence)
        given = {"policy": clock.policy(), "max_tokens": 1000, **given}
        brain = Claude(model, client=client, on_retry=heard.retries.append, on_degradation=heard.degrade, **given)
        brains.append(brain)
        return brain

    yield opened
    for brain in brains:
        await brain.close()

"""The limiter: it grows while answers come, halves when pushed back, and heeds what the headers say is left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from nightlab.judging.limiter import Limiter


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def limiter(time: Time, first: int = 8) -> Limiter:
    return Limiter(first=first, clock=time, wall=time, sleep=time.sleep)


def left(kind: str, count: int, at: float) -> dict[str, str]:
    """Headers that say so many of a kind are left until a time."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat()
    name = f"anthropic-ratelimit-{kind}"
    return {f"{name}-remaining": str(count), f"{name}-reset": stamp}


def test_it_grows_fast_until_it_is_pushed_back_and_slowly_after() -> None:
    time = Time()
    one = limiter(time)
    for _ in range(8):
        one.answered({}, {})
    assert one.allowed == 16
    one.refused({})
    one.refused({})
    assert (one.allowed, one.pushed_back) == (8, 2)
    for _ in range(8):
        one.answered({}, {})
    assert one.allowed == 8
    one.answered({}, {})
    assert one.allowed == 9
    for _ in range(5000):
        one.answered({}, {})
    assert one.allowed == 64


def test_what_is_left_by_the_headers_bounds_what_is_in_flight_until_the_reset() -> None:
    time = Time()
    one = limiter(time)
    one.answered(left("requests", 3, time() + 30), {})
    assert one.allowed == 3
    time.now += 31
    assert one.allowed == 9
    used = {"input_tokens": 900, "output_tokens": 100}
    one.answered({}, used)
    one.answered(left("input-tokens", 1800, time() + 30), used)
    assert one.allowed == 2


async def test_nothing_is_started_before_the_wait_that_was_asked_for_is_over() -> None:
    time = Time()
    one = limiter(time)
    one.refused({}, 12.0)
    began = time()
    async with one:
        assert time() - began >= 12.0
        assert one.in_flight == 1
    assert one.in_flight == 0


async def test_a_place_that_is_given_back_is_taken_at_once() -> None:
    one = Limiter(first=1, most=1)
    order: list[int] = []

    async def work(number: int) -> None:
        async with one:
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(20))), 5)
    assert sorted(order) == list(range(20))

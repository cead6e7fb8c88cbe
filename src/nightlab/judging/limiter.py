"""How many requests to an API are in flight: as many as it takes.

The number grows while answers come (doubling at first, then by one per round), is halved when the API pushes back, and
is held down by the rate-limit headers, which say how much is left until when. Clock and sleep are parameters.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import TracebackType

FIRST = 8
MOST = 64
LONGEST_HOLD = 120.0
PREFIX = "anthropic-ratelimit-"
KINDS = ("requests", "input-tokens", "output-tokens", "tokens")


class Limiter:
    """A place for each request in flight; use it as an async context around one request."""

    def __init__(
        self,
        *,
        first: int = FIRST,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.limit = float(min(first, most))
        self.in_flight = 0
        self.pushed_back = 0
        """How often the API said that it is too much."""
        self._most, self._growing = most, True
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self._cap, self._until = math.inf, 0.0
        self._halved = -math.inf
        self._need: dict[str, float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.Task[None] | None = None

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        cap = self._cap if self._clock() < self._until else math.inf
        return int(min(max(1.0, self.limit), cap))

    async def __aenter__(self) -> Limiter:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._wake()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # it was given a place in the same instant
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        """Give free places to those who wait, first come, first served; what is held back is looked at when it ends."""
        while self._waiting and self.in_flight < self.allowed:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
        held = self._until - self._clock()
        if self._waiting and held > 0 and self._alarm is None:
            self._alarm = asyncio.create_task(self._look_later(held))

    async def _look_later(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._alarm = None
        self._wake()

    def answered(self, headers: Mapping[str, str], usage: Mapping[str, object]) -> None:
        """A request was answered: grow, and heed what the headers say is left."""
        step = 1.0 if self._growing else 1.0 / max(1.0, self.limit)
        self.limit = min(float(self._most), self.limit + step)
        self._measure(usage)
        self._heed(headers)
        self._wake()

    def refused(self, headers: Mapping[str, str], wait: float | None = None) -> None:
        """The API pushed back: halve, at most once for the requests that were in flight together."""
        self.pushed_back += 1
        self._growing = False
        now = self._clock()
        if now - self._halved > 1.0:
            self.limit = max(1.0, self.limit / 2)
            self._halved = now
        if wait:
            self._hold(0, min(wait, LONGEST_HOLD))
        self._heed(headers)

    def _measure(self, usage: Mapping[str, object]) -> None:
        written = _number(usage.get("output_tokens"))
        read = sum(_number(usage.get(name)) for name in ("input_tokens", "cache_creation_input_tokens"))
        for kind, count in (("input-tokens", read), ("output-tokens", written), ("tokens", read + written)):
            if count:
                self._need[kind] = 0.8 * self._need.get(kind, count) + 0.2 * count

    def _heed(self, headers: Mapping[str, str]) -> None:
        for kind in KINDS:
            left = headers.get(f"{PREFIX}{kind}-remaining", "")
            if not re.fullmatch(r"\d+", left):
                continue
            places = int(int(left) / self._need.get(kind, 1.0))
            if places < self.limit:
                self._hold(places, self._seconds_until(headers.get(f"{PREFIX}{kind}-reset", "")))

    def _hold(self, places: int, seconds: float) -> None:
        """At most so many in flight for a while; the strictest hold stands."""
        now = self._clock()
        if now >= self._until or places <= self._cap:
            self._cap = places
            self._until = now + seconds

    def _seconds_until(self, stamp: str) -> float:
        try:
            at = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            return 1.0
        return min(max(0.0, at - self._wall()), LONGEST_HOLD)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

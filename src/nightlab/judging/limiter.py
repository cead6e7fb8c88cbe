"""How many requests to an API are in flight: as many as it takes.

The number grows while answers come (doubling at first, then by one per round), is halved when the API pushes back, and
is held down by the rate-limit headers, which say how much is left until when. Clock and sleep are parameters.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
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
        self._free = asyncio.Event()

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        cap = self._cap if self._clock() < self._until else math.inf
        return int(min(max(1.0, self.limit), cap))

    async def __aenter__(self) -> Limiter:
        while self.in_flight >= self.allowed:
            self._free.clear()
            await self._wait()
        self.in_flight += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_flight -= 1
        self._free.set()

    async def _wait(self) -> None:
        """Until a place is free, or what the headers held back is over."""
        held = self._until - self._clock()
        if held <= 0 or self.in_flight:
            waiting = asyncio.ensure_future(self._free.wait())
            over = asyncio.ensure_future(self._sleep(max(held, 0.05) if held > 0 else 1.0))
            _, left = await asyncio.wait((waiting, over), return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
        else:
            await self._sleep(held)

    def answered(self, headers: Mapping[str, str], usage: Mapping[str, object]) -> None:
        """A request was answered: grow, and heed what the headers say is left."""
        step = 1.0 if self._growing else 1.0 / max(1.0, self.limit)
        self.limit = min(float(self._most), self.limit + step)
        self._measure(usage)
        self._heed(headers)
        self._free.set()

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
            self._need[kind] = max(1.0, 0.8 * self._need.get(kind, count) + 0.2 * count)

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

"""How many requests may be in flight at one server, and when it may be asked at all.

The limit begins at half of what is allowed and doubles once per round of answers, until the server shows that it has
enough: the round took longer in proportion and gave no more answers. From then on it grows by an eighth a round while
latency holds, and is cut where the server refuses (429, 503), lets requests time out, slows down to twice its usual
latency, or says that requests wait in its queue (`num_requests_waiting`). After Chiu & Jain (1989), Computer
Networks 17(1), with the slow start of Jacobson (1988), SIGCOMM. Latency alone never cuts below what batching needs: on
a model server it grows with the batch, and so does the number of answers a second.

A server that takes no connection is not asked by everyone at once: the gate closes, and one request probes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

REFUSED = 0.5  # of the limit stays where the server refuses
SLOWED = 0.8  # where it slows down
STEADY = 1.25  # times the usual latency is no slower
SLOW = 2.0  # times the usual latency is slower
GAIN = 1.1  # times as many answers a second is worth a larger limit
USUAL = 0.2  # weight of a round in the usual latency


class Pace:
    """The limit of one server; `grown` is called where it rose."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.grown: Callable[[], None] = lambda: None
        self.limit = max(1, (most + 1) // 2)
        self.cuts = 0
        """How often the server made the limit smaller."""
        self._starting = True
        self._usual: float | None = None
        self._rate = 0.0
        self._cut_at = 0.0
        self._begin(time.monotonic())

    def answered(self, latency: float) -> None:
        """An answer came after so many seconds."""
        self._count += 1
        self._latencies += latency
        if self._starting and self.limit < self.most:
            self.limit += 1
            self.grown()
        if self._count >= self._size:
            self._round()

    def refused(self, started: float) -> None:
        """A request sent at `started` (monotonic) was refused or timed out; the limit falls, once for each round."""
        if started >= self._cut_at:
            self._cut(REFUSED)

    def waiting(self, requests: float) -> None:
        """The server says how many requests wait in its queue: half of them are too many."""
        if requests > self.limit / 4:
            self._cut(max(REFUSED, 1 - requests / 2 / self.limit))

    def _cut(self, factor: float) -> None:
        self._starting = False
        self.cuts += 1
        self.limit = max(1, int(self.limit * factor))
        self._cut_at = time.monotonic()
        self._begin(self._cut_at)

    def _begin(self, moment: float) -> None:
        self._began, self._size, self._count, self._latencies = moment, self.limit, 0, 0.0

    def _round(self) -> None:
        """Judge a round of as many answers as were allowed in flight."""
        moment = time.monotonic()
        latency, rate = self._latencies / self._count, self._count / max(moment - self._began, 1e-9)
        if self._usual is None:
            self._usual = latency
        slower = latency / max(self._usual, 1e-9)
        if self._starting:
            self._starting = self.limit < self.most and (slower < SLOW or rate > GAIN * self._rate)
        elif slower > SLOW:
            self._cut(SLOWED)
        elif slower <= STEADY and self.limit < self.most:
            self.limit = min(self.most, self.limit + max(1, self.limit // 8))
            self.grown()
        self._usual += USUAL * (latency - self._usual)
        self._rate = rate
        self._begin(moment)


class Gate:
    """Closed while a server takes no connections: one request probes it, the others wait."""

    def __init__(self) -> None:
        self.closed_since: float | None = None
        self._open = asyncio.Event()
        self._open.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._open.wait()

    def close(self) -> bool:
        """Close it; whether it was open, so that the caller is the one who probes."""
        was_open = self._open.is_set()
        if was_open:
            self.closed_since = time.monotonic()
            self._open.clear()
        return was_open

    def open(self) -> None:
        """Let everyone pass."""
        self.closed_since = None
        self._open.set()

    def closed_for(self) -> float:
        """Seconds since it was closed; 0 where it is open."""
        return 0.0 if self.closed_since is None else time.monotonic() - self.closed_since

"""How many requests may be in flight at one server, and when it may be asked at all.

The limit begins at half of what is allowed and reaches it with the answers of one round. It is cut where the server
refuses (429, 503), lets requests time out, or says that requests wait in its queue (`num_requests_waiting`), and comes
back by an eighth a round while latency holds. After Chiu & Jain (1989), Computer Networks 17(1), with the slow start of
Jacobson (1988), SIGCOMM. Latency alone cuts nothing: on a model server it grows with the batch, and so does the number
of answers a second; and where this machine is busy it is our own, which asking less does not mend.

A server that takes no connection is not asked by everyone at once: the gate closes, and one request probes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

REFUSED = 0.5  # of the limit stays where the server refuses
STEADY = 1.25  # times the usual latency is no slower
USUAL = 0.2  # weight of a round in the usual latency


class Pace:
    """The limit of one server; `grown` is called where it rose."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.grown: Callable[[], None] = lambda: None
        self.limit = max(1, (most + 1) // 2)
        self.cuts = 0
        """How often the server made the limit smaller."""
        self._usual: float | None = None
        self._cut_at = 0.0
        self._begin()

    def answered(self, latency: float) -> None:
        """An answer came after so many seconds."""
        self._count += 1
        self._latencies += latency
        if not self.cuts:
            self._grow(1)
        if self._count >= self._size:
            self._round(self._latencies / self._count)

    def refused(self, started: float) -> None:
        """A request sent at `started` (monotonic) was refused or timed out; the limit falls, once for each round."""
        if started >= self._cut_at:
            self._cut(REFUSED)

    def waiting(self, requests: float) -> None:
        """The server says how many requests wait in its queue: half of them are too many."""
        if requests > self.limit / 4:
            self._cut(max(REFUSED, 1 - requests / 2 / self.limit))

    def _cut(self, factor: float) -> None:
        self.cuts += 1
        self.limit = max(1, int(self.limit * factor))
        self._cut_at = time.monotonic()
        self._begin()

    def _grow(self, by: int) -> None:
        if self.limit < self.most:
            self.limit = min(self.most, self.limit + by)
            self.grown()

    def _begin(self) -> None:
        """Begin a round of as many answers as are allowed in flight."""
        self._size, self._count, self._latencies = self.limit, 0, 0.0

    def _round(self, latency: float) -> None:
        """A round is over, with this mean latency."""
        usual = latency if self._usual is None else self._usual
        if latency <= STEADY * usual:
            self._grow(max(1, self.limit // 8))
        self._usual = usual + USUAL * (latency - usual)
        self._begin()


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

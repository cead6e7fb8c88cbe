"""The clocks by which a night is watched, a deadline that no clock can lose, and how much patience a watcher has.

The wall clock says what 07:00 is, and may be set back; the elapsed clock counts a sleep of the machine, and cannot be
set. Whether somebody is silent is counted in watched time: what passes while the watcher itself sleeps is nobody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nightlab.lab import Lab

STEP = 5.0  # seconds between two looks that count at most


@dataclass(frozen=True)
class Clocks:
    """Seconds since the epoch; seconds that no one can set, with the machine's sleep and without it."""

    wall: Callable[[], float] = time.time
    elapsed: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    awake: Callable[[], float] = time.monotonic


class Deadline:
    """A moment of the wall clock: past when that clock shows it, or when as many seconds are over as were left."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._at: float | None = None
        self._over = 0.0

    def set(self, at: float | None) -> None:
        """Take another deadline, in seconds since the epoch; None is none."""
        if at is not None and at != self._at:
            self._over = self._clocks.elapsed() + at - self._clocks.wall()
        self._at = at

    def past(self) -> bool:
        """Whether it is past."""
        return self._at is not None and (self._clocks.wall() >= self._at or self._clocks.elapsed() >= self._over)


class Watched:
    """Time that was really watched: a long step between two looks counts as a short one."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._last = clocks.awake()
        self.seconds = 0.0

    def look(self) -> float:
        """Count what passed since the last look; the seconds watched so far."""
        now = self._clocks.awake()
        self.seconds += min(max(0.0, now - self._last), STEP)
        self._last = now
        return self.seconds


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what, in seconds of watched time; and how often it starts a worker again."""

    stuck: float = 300.0
    """Without a heartbeat."""
    starting: float = 120.0
    """Before the first heartbeat; at least as long as `stuck`."""
    stalled: float = 3600.0
    """Without an event, while no tool, wait or pause is under way."""
    late: float = 600.0
    """Beyond the deadline."""
    drain: float = 600.0
    """For a worker that was asked to end."""
    grace: float = 20.0
    """Between TERM and KILL for one that is given up."""
    restarts: int = 5
    pause: float = 1.0
    """Before the first start anew; doubled each time, up to a minute."""
    healthy: float = 600.0
    """A worker that lived so long makes the earlier losses forgotten."""

    @classmethod
    def of(cls, lab: Lab) -> Patience:
        """What the lab's settings say."""
        config = lab.config
        return cls(
            stuck=config.stuck_seconds,
            late=config.late_seconds,
            restarts=config.restarts,
            pause=config.restart_seconds,
        )

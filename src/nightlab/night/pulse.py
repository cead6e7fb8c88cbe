"""The night's process seen from outside: its heartbeat, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol

from nightlab.lab import Lab

BEAT = 1.0  # seconds between two signs of life
_CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Lines(Protocol):
    """A file whose last lines may not be on the disk yet."""

    def sync(self) -> None:
        """Put them there."""
        ...


async def beat(lab: Lab) -> None:
    """Touch the heartbeat from the event loop until cancelled: a loop that is blocked is silent."""
    while True:
        with contextlib.suppress(OSError):  # who watches judges the silence
            lab.heartbeat.touch()
        await asyncio.sleep(BEAT)


async def keep(*files: Lines) -> None:
    """Put what was appended to these files on the disk, once a second, until cancelled. Raises StorageError."""
    while True:
        await asyncio.sleep(BEAT)
        for file in files:
            await asyncio.to_thread(file.sync)


@contextlib.contextmanager
def signals(stop: asyncio.Event, now: asyncio.Event) -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C let the tools under way finish, and then wrap up; a second one ends them at once.

    Without a main thread there are none.
    """
    loop = asyncio.get_running_loop()
    caught = _CAUGHT if threading.current_thread() is threading.main_thread() else ()

    def ask() -> None:
        (now if stop.is_set() else stop).set()

    for number in caught:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)

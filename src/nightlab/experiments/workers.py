"""The tasks that ask one server: as many as its pace allows, each taking cell after cell."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Protocol

from nightlab.experiments.cells import Cell
from nightlab.experiments.pace import Pace
from nightlab.servers.chat import Chat, ChatError

QUEUE_SECONDS = 2.0


class Work(Protocol):
    """What the tasks do."""

    async def next_cell(self) -> Cell | None:
        """The next cell to ask; None when there is none."""

    async def work_on(self, chat: Chat, cell: Cell) -> None:
        """Ask a cell."""


class Workers:
    """As many workers as the pace of a share allows: a smaller limit ends some, a larger one starts some."""

    def __init__(self, work: Work, chat: Chat, pace: Pace) -> None:
        self._job, self._chat, self._pace = work, chat, pace
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._over = asyncio.Event()
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Work until there is nothing left to do; the first error ends it."""
        self._pace.grown = self._start
        self._start()
        queue = asyncio.create_task(self._watch_queue())
        try:
            await self._over.wait()
        finally:
            tasks = [queue, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._error is not None:
            raise self._error

    def _start(self) -> None:
        for number in range(self._pace.limit):
            if number not in self._tasks:
                task = self._tasks[number] = asyncio.create_task(self._work(number))
                task.add_done_callback(functools.partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if not task.cancelled() and self._error is None:
            self._error = task.exception()
        if self._error is not None or not self._tasks:
            self._over.set()

    async def _work(self, number: int) -> None:
        while number < self._pace.limit and (cell := await self._job.next_cell()) is not None:
            await self._job.work_on(self._chat, cell)

    async def _watch_queue(self) -> None:
        """Heed how many requests wait in the server, where it tells."""
        with contextlib.suppress(ChatError):  # a server without /metrics is paced by its answers alone
            while True:
                await asyncio.sleep(QUEUE_SECONDS)
                self._pace.waiting(await self._chat.waiting())

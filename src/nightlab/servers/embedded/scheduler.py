"""The thread that drives the engine, and the way to it from asyncio.

One thread owns the model: requests and adapter changes reach it through a queue that it empties between steps.
A step that fails ends the rows that were in it with the error; the server goes on.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nightlab.servers.embedded.engine import Engine
from nightlab.servers.embedded.rows import Row

T = TypeVar("T")
log = logging.getLogger("nightlab.embedded")


@dataclass
class Counts:
    """What /metrics tells."""

    running: int = 0
    waiting: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    generated: int = 0
    prompted: int = 0
    finished: dict[str, int] = field(default_factory=dict)


class Scheduler:
    """Runs an engine in its own thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.counts = Counts()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ends: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the engine's thread between two steps and give back its result or raise its error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = work()
            except Exception as problem:  # noqa: BLE001 - it belongs to the caller, and is raised there
                loop.call_soon_threadsafe(_fail, future, problem)
            else:
                loop.call_soon_threadsafe(_settle, future, result)

        self._inbox.put(run)
        return await future

    async def finish(self, rows: Sequence[Row]) -> None:
        """Run rows to their end. Cancelling takes them out of the batch; a failed step raises RuntimeError."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in rows]

        def add() -> None:
            for row, future in zip(rows, futures, strict=True):
                self._ends[id(row)] = (loop, future)
                self.engine.add(row)
                self.counts.prompted += len(row.prompt)

        self._inbox.put(add)
        try:
            await asyncio.gather(*futures)
        except asyncio.CancelledError:
            for row in rows:
                row.abandoned = True
            raise

    def _run(self) -> None:
        engine = self.engine
        while True:
            self._empty_inbox(wait=not (engine.running or engine.waiting))
            self._note()
            if not (engine.running or engine.waiting):
                continue
            begun = time.perf_counter()
            try:
                gone = engine.step()
            except Exception as problem:
                log.exception("a step failed")
                self._end(engine.clear(), problem)
                continue
            self.counts.steps += 1
            self.counts.busy_seconds += time.perf_counter() - begun
            self._end(gone, None)

    def _empty_inbox(self, *, wait: bool) -> None:
        if wait:
            self._inbox.get()()
        while True:
            try:
                work = self._inbox.get_nowait()
            except queue.Empty:
                return
            work()

    def _note(self) -> None:
        self.counts.running, self.counts.waiting = len(self.engine.running), len(self.engine.waiting)

    def _end(self, rows: Sequence[Row], problem: Exception | None) -> None:
        self._note()
        for row in rows:
            loop, future = self._ends.pop(id(row))
            reason = "abort" if problem or row.abandoned else row.finish or "abort"
            self.counts.finished[reason] = self.counts.finished.get(reason, 0) + 1
            self.counts.generated += len(row.output)
            if problem is None:
                loop.call_soon_threadsafe(_settle, future, None)
            else:
                loop.call_soon_threadsafe(_fail, future, RuntimeError(f"EngineCore encountered an issue: {problem}"))


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], problem: Exception) -> None:
    if not future.done():
        future.set_exception(problem)

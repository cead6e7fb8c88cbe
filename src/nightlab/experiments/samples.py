"""What was answered and what failed: two stores of an experiment that only grow.

`samples.jsonl` has one row for each answered cell, named by the cell's key; a key that stands there twice is damage and
is reported, unless the earlier rows were marked (marks.py): a marked row no longer answers its cell. `failures.jsonl`
has one row for each failed attempt. A Writer collects rows and puts them on the disk in groups, each with one fsync,
outside of the event loop: a row counts as written when its group is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nightlab.errors import LockHeld, StorageError
from nightlab.experiments.cells import Cell
from nightlab.experiments.marks import Marks, sample_name
from nightlab.files import JsonLines

SAMPLES = "samples.jsonl"
FAILURES = "failures.jsonl"
GROUP_ROWS = 512
GROUP_SECONDS = 0.05


class Samples:
    """The samples and failures of one experiment folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = JsonLines(folder / SAMPLES)
        self.failed = JsonLines(folder / FAILURES)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All samples that count, oldest first. Raises StorageError for damage, or a key that stands there twice."""
        path = self.answers.path
        for found in Marks.read(self.folder).sift("samples", self.answers.read(), sample_name):
            key = found.row.get("key")
            if not isinstance(key, str):
                raise StorageError("a sample without a key", where=f"{path}:{found.line}")
            if found.again:
                hint = "the file was edited, or written twice at once: keep one of the lines, and say so in the diary"
                raise StorageError(f"the sample {key} stands there twice", where=f"{path}:{found.line}", hint=hint)
            if found.struck is None:
                yield found.row

    def keys(self) -> set[str]:
        """The keys of all cells whose answer counts."""
        return {row["key"] for row in self.rows()}

    def failures(self) -> Iterator[dict[str, Any]]:
        """All failed attempts, oldest first."""
        return self.failed.read()

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells that have no sample yet, in their order."""
        answered = self.keys()
        return [cell for cell in cells if cell.key not in answered]

    def append(self, row: Mapping[str, object]) -> None:
        """Add one sample durably."""
        self.answers.append(row)

    def close(self) -> None:
        """Close both files."""
        self.answers.close()
        self.failed.close()


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold an experiment folder against a second sweep or judging of this machine. Raises LockHeld."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(
                "another process writes this experiment", where=folder, hint="wait until it is done, or stop it"
            ) from None
        yield
    finally:
        os.close(fd)


class Writer:
    """Puts rows into a store in groups: at most GROUP_SECONDS after a row came, or GROUP_ROWS at once.

    Use it as an async context; leaving it writes what is left, also on cancellation. A refusal of the disk is raised
    by the next `put` or on leaving.
    """

    def __init__(self, store: JsonLines) -> None:
        self._store = store
        self._rows: list[Mapping[str, object]] = []
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.count = 0
        """Rows on the disk so far."""

    async def __aenter__(self) -> Writer:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._arrived.set()
        self._full.set()
        assert self._task is not None
        await _finish(self._task)

    def put(self, row: Mapping[str, object]) -> None:
        """Hand over a row. Raises what stopped the writing before."""
        if self._task is not None and self._task.done():
            self._task.result()
        self._rows.append(row)
        self._arrived.set()
        if len(self._rows) >= GROUP_ROWS:
            self._full.set()

    async def _run(self) -> None:
        while not self._closing or self._rows:
            await self._arrived.wait()
            if not self._closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), GROUP_SECONDS)
            group, self._rows = self._rows, []
            self._arrived.clear()
            self._full.clear()
            await asyncio.to_thread(self._store.append_many, group)
            self.count += len(group)


async def _finish(task: asyncio.Task[None]) -> None:
    """Wait for the last group even while this task is being cancelled, then pass the cancellation on."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled

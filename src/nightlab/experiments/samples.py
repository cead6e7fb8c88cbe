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
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from nightlab.errors import LockHeld, StorageError
from nightlab.experiments.cells import KEY_DIGITS, Cell, Chosen, keys_of
from nightlab.experiments.marks import Marks, sample_name
from nightlab.files import JsonLines
from nightlab.json_line import encoded

SAMPLES = "samples.jsonl"
FAILURES = "failures.jsonl"
GROUP_SECONDS = 0.05
_KEY = b'{"key":"'  # how a line of samples.jsonl begins
_KEY_END = len(_KEY) + KEY_DIGITS


class Samples:
    """The samples and failures of one experiment folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = JsonLines(folder / SAMPLES)
        self.failed = JsonLines(folder / FAILURES)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All samples that count, oldest first. Raises StorageError for damage, or a key that stands there twice."""
        return self._counted(self.answers.read(), Marks.read(self.folder))

    def keys(self) -> set[str]:
        """The keys of all cells whose answer counts; lines are read as far as their key, so a million take seconds.

        Raises StorageError for a key that stands there twice, and for a damaged line whose key cannot be read; damage
        behind the key is met where the rows are used.
        """
        marks = Marks.read(self.folder)
        found: set[str] = set()
        count = 0
        for key in self._keys():
            found.add(key)
            count += 1
        if len(found) == count and not marks.all:
            return found
        return {row["key"] for row in self._counted(({"key": key} for key in self._keys()), marks)}

    def _keys(self) -> Iterator[str]:
        """The key of every line."""
        for number, line in enumerate(self.answers.lines(), 1):
            if line.startswith(_KEY) and line[_KEY_END : _KEY_END + 1] == b'"' and line.endswith(b"}\n"):
                yield line[len(_KEY) : _KEY_END].decode()
            else:
                yield self._key(self.answers.parse(line, number), number)

    def _key(self, row: Mapping[str, Any], number: int) -> str:
        key = row.get("key")
        if not isinstance(key, str):
            raise StorageError("a sample without a key", where=f"{self.answers.path}:{number}")
        return key

    def _counted(self, rows: Iterable[dict[str, Any]], marks: Marks) -> Iterator[dict[str, Any]]:
        for found in marks.sift("samples", rows, sample_name):
            key = self._key(found.row, found.line)
            if found.again:
                hint = "the file was edited, or written twice at once: keep one of the lines, and say so in the diary"
                where = f"{self.answers.path}:{found.line}"
                raise StorageError(f"the sample {key} stands there twice", where=where, hint=hint)
            if found.struck is None:
                yield found.row

    def failures(self) -> Iterator[dict[str, Any]]:
        """All failed attempts, oldest first."""
        return self.failed.read()

    def missing(self, cells: Sequence[Cell]) -> Chosen:
        """The cells that have no sample yet, in their order; four bytes are kept for each."""
        answered = self.keys()
        return Chosen(cells, array("I", (at for at, key in enumerate(keys_of(cells)) if key not in answered)))

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
    """Puts rows into a store: with the operating system as they come, on the disk in groups.

    A row is written within one turn of the event loop, so that a kill of this process loses none that was handed over
    before, and is on the disk GROUP_SECONDS later, with one fsync for all that came meanwhile. Use it as an async
    context; leaving it writes what is left, also on cancellation. A refusal of the disk is raised by the next `put` or
    on leaving.
    """

    def __init__(self, store: JsonLines) -> None:
        self._store = store
        self._rows: list[bytes] = []
        self._arrived = asyncio.Event()
        self._written = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting = 0
        self.count = 0
        """Rows on the disk so far."""

    async def __aenter__(self) -> Writer:
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._sync())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._arrived.set()
        self._written.set()
        writing, syncing = self._tasks
        await _finish(writing)
        self._written.set()
        await _finish(syncing)
        await _finish(asyncio.create_task(self._put_down()))

    def put(self, row: Mapping[str, object]) -> None:
        """Hand over a row. Raises what stopped the writing before."""
        self.put_line(encoded(row))

    def put_line(self, line: bytes) -> None:
        """Hand over a row as its line."""
        for task in self._tasks:
            if task.done():
                task.result()
        self._rows.append(line)
        self._arrived.set()

    async def _write(self) -> None:
        while not self._closing.is_set() or self._rows:
            await self._arrived.wait()
            if not self._closing.is_set():
                self._arrived.clear()
            group, self._rows = self._rows, []
            self._store.append_lines(group, sync=False)
            self._waiting += len(group)
            self._written.set()

    async def _sync(self) -> None:
        while not self._closing.is_set():
            await self._written.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), GROUP_SECONDS)
            if not self._closing.is_set():
                self._written.clear()
                await self._put_down()

    async def _put_down(self) -> None:
        group, self._waiting = self._waiting, 0
        if group:
            await asyncio.to_thread(self._store.sync)
            self.count += group


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

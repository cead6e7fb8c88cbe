"""Where the graph's checkpoints are kept: SQLite that stays small over a night of any length.

Only the newest checkpoints of a watch are of use, so older ones are deleted as it goes on. Commits wait for no fsync
(WAL, synchronous=NORMAL): a killed process loses nothing, a power cut at most the newest steps, and the transcript, the
journal and the log say better what happened. A row is a few hundred bytes, so it is written where the graph runs: a
thread for it would cost more than the write. Limit: the write-ahead log needs a local disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

EVERY = 100
"""Checkpoints between two clearings."""
KEPT = 3
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=96", "journal_size_limit=0")


class LeanSaver(SqliteSaver):
    """A saver for graphs of one event loop, that deletes what no resumption can need."""

    _puts = 0

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The newest checkpoint of a watch, or the one that the config names."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """The checkpoints that are there, newest first."""
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, and now and then clear the older ones of its watch."""
        kept = self.put(config, checkpoint, metadata, new_versions)
        self._puts += 1
        if self._puts % EVERY == 0:
            self._clear(kept["configurable"]["thread_id"], kept["configurable"]["checkpoint_ns"])
        return kept

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task of the step under way returned."""
        self.put_writes(config, writes, task_id, task_path)

    def _clear(self, thread: str, namespace: str) -> None:
        newest = "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ?"
        newest += f" ORDER BY checkpoint_id DESC LIMIT {KEPT}"
        with self.cursor() as cursor:
            for table in ("writes", "checkpoints"):
                where = f"thread_id = ? AND checkpoint_ns = ? AND checkpoint_id NOT IN ({newest})"
                cursor.execute(f"DELETE FROM {table} WHERE {where}", (thread, namespace) * 2)


@contextlib.contextmanager
def open_saver(path: Path) -> Iterator[LeanSaver]:
    """The checkpoints in this file. Raises sqlite3.DatabaseError where it cannot be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        yield LeanSaver(connection)

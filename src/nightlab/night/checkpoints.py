"""Where the graph's checkpoints are kept: SQLite that stays small over a night of any length.

Only the newest checkpoints of a watch are of use, so older ones are deleted as it goes on. Commits wait for no fsync
(WAL, synchronous=NORMAL): a killed process loses nothing, a power cut at most the newest steps, and the transcript, the
journal and the log say better what happened. Limit: the write-ahead log needs a local disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

EVERY = 100
"""Checkpoints between two clearings."""
KEPT = 3
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=64", "journal_size_limit=0")


class LeanSaver(AsyncSqliteSaver):
    """A saver that deletes what no resumption can need."""

    _puts = 0

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, and now and then clear the older ones of its watch."""
        kept = await super().aput(config, checkpoint, metadata, new_versions)
        self._puts += 1
        if self._puts % EVERY == 0:
            await self._clear(kept["configurable"]["thread_id"], kept["configurable"]["checkpoint_ns"])
        return kept

    async def _clear(self, thread: str, namespace: str) -> None:
        newest = "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ?"
        newest += f" ORDER BY checkpoint_id DESC LIMIT {KEPT}"
        async with self.lock:
            for table in ("writes", "checkpoints"):
                where = f"thread_id = ? AND checkpoint_ns = ? AND checkpoint_id NOT IN ({newest})"
                await self.conn.execute(f"DELETE FROM {table} WHERE {where}", (thread, namespace) * 2)
            await self.conn.commit()


@contextlib.asynccontextmanager
async def open_saver(path: Path) -> AsyncIterator[LeanSaver]:
    """The checkpoints in this file. Raises sqlite3.DatabaseError where it cannot be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    async with aiosqlite.connect(path) as connection:
        for pragma in PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
        yield LeanSaver(connection)

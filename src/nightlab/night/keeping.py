"""What keeps a night's place: a file on a local disk or a Postgres server by its URL; and what is done when it breaks.

The transcript, the journal and the log hold what happened, so losing it costs nothing but a word in the log: a damaged
file is put aside, a server that is away is asked again for a while and then done without. A full disk ends the process,
not the night. Limit: tables of Postgres are made in the schema that its user writes to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from nightlab.errors import DiskFull, NotSetUp, StorageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.checkpoints import open_saver
from nightlab.settings import without_password

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before a server that is away is asked again
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
Saver = BaseCheckpointSaver[str]
Outcome = TypeVar("Outcome")


def by_url(where: str) -> bool:
    """Whether the setting names a Postgres server, not a file."""
    return where.startswith(("postgresql://", "postgres://"))


def thread(lab: Lab, night: str, watch: str) -> str:
    """The name under which a watch's place is kept. On a server that several labs share, nights of theirs may begin in
    the same second, so the lab is part of it; a lab that moved goes on from its files."""
    own = f"{os.uname().nodename}:{lab.root}/" if by_url(lab.config.checkpoints) else ""
    return f"{own}{night}/{watch}"


Work = Callable[[Saver], Awaitable[Outcome]]


async def kept(
    lab: Lab, night: str, events: EventLog, work: Work[Outcome], pauses: tuple[float, ...] = PAUSES
) -> Outcome:
    """Do a work that goes on where its checkpoints say, whatever becomes of them. Raises DiskFull, StorageError."""
    if not by_url(lab.config.checkpoints):
        return await _in_file(lab.checkpoints, night, events, work)
    import psycopg

    why = ""
    for pause in (*pauses, 0.0):
        try:
            async with _postgres(lab.config.checkpoints) as saver:
                return await work(saver)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            why = _words(error)
            await asyncio.sleep(pause)
    what = "the checkpoints' server is away: the night keeps its place in its files alone"
    events.emit("degradation", what=what, why=why, where="night")
    return await work(InMemorySaver())


async def _in_file(path: Path, night: str, events: EventLog, work: Work[Outcome]) -> Outcome:
    try:
        with open_saver(path) as saver:
            return await work(saver)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) & 0xFF
        if code in _NO_ROOM:
            hint = "free some space, then run the same command again: nothing was lost"
            raise DiskFull(f"cannot write: {error}", where=path, hint=hint) from error
        if code not in _DAMAGED:
            raise StorageError(f"the checkpoints cannot be used: {error}", where=path) from error
        aside = _put_aside(path, night)
        why = f"{error}; kept as {aside.name}"
    events.emit("degradation", what="the checkpoint was rebuilt from the transcript", why=why, where="night")
    with open_saver(path) as saver:
        return await work(saver)


def _put_aside(path: Path, night: str) -> Path:
    aside = path.with_suffix(f".{night}.damaged")
    path.replace(aside)
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    return aside


@contextlib.asynccontextmanager
async def _postgres(url: str) -> AsyncIterator[Saver]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        await saver.setup()
        yield saver


def check_server(url: str) -> None:
    """Raise NotSetUp where the Postgres server of the checkpoints cannot be used; the URL's password is never said."""
    try:
        import psycopg
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: F401
    except ImportError as error:
        hint = 'pip install "nightlab[postgres]"'
        raise NotSetUp("checkpoints in Postgres need a package that is not installed", hint=hint) from error
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        hint = "start it, or mend `checkpoints` under [tool.nightlab]; a path on a local disk needs no server"
        raise NotSetUp(f"no checkpoints in Postgres: {_words(error)}", where=without_password(url), hint=hint) from None


def _words(error: Exception) -> str:
    return without_password(" ".join(str(error).split())[:300])

"""How long a server lives when nobody watches: kept for the next night on purpose, taken over by it, and last used.

The lease itself is watched on the serving side, by the process around the job; here its owner says how long.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightlab.errors import UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.server import Server

LONGEST = 7 * 24 * 3600.0
USE_LOOK = 5.0  # seconds between two notes that a server is in use
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s)?")


def seconds_of(text: str) -> float:
    """The seconds of a span such as 2h, 90m, 1h30m or 45s, at most a week; 0 for nothing. Raises UsageError."""
    found = _SPAN.fullmatch(text.strip().lower())
    if not found or not any(found.groups()):
        if text.strip() == "0":
            return 0.0
        raise UsageError(f"{text!r} is no span of time", where="keep", hint="write it as 2h, 90m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total > LONGEST:
        raise UsageError(f"{text!r} is longer than a week", where="keep", hint="a server is kept for hours")
    return total


async def keep(server: Server, events: EventLog) -> None:
    """Leave a ready server running for as long as its manifest says, for the next night."""
    job, seconds = server.job, server.manifest.keep_seconds
    if job is None or not seconds:
        return
    await asyncio.to_thread(job.renew, seconds)
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", "Z")
    server.note(kept_until=until)
    manifest = server.manifest
    events.once(f"{manifest.job}:kept", "server_kept", server=manifest.id, model=manifest.model, until=until)


async def take_over(server: Server, night: str, keep_seconds: float = 0.0) -> None:
    """Make a night the owner of a server that an earlier one kept: it renews the lease, and stops it at its end."""
    if server.manifest.night != night or server.manifest.kept_until:
        server.note(night=night, kept_until=None, keep_seconds=keep_seconds)
        await asyncio.to_thread(server.renew)


def used_file(lab: Lab, server_id: str) -> Path:
    """Its age says how long a server has been idle."""
    return lab.cache / "used" / server_id


@contextlib.asynccontextmanager
async def in_use(lab: Lab, server_id: str) -> AsyncIterator[None]:
    """Note that a server is being asked, for as long as this lasts."""
    path = used_file(lab, server_id)
    path.parent.mkdir(parents=True, exist_ok=True)

    async def note() -> None:
        while True:
            path.touch()
            await asyncio.sleep(USE_LOOK)

    noting = asyncio.create_task(note())
    try:
        yield
    finally:
        noting.cancel()
        path.touch()


def idle_seconds(lab: Lab, server_id: str, ready: str | None) -> float | None:
    """Seconds since a server was last asked, or became ready; None before that."""
    since = datetime.fromisoformat(ready).timestamp() if ready else None
    with contextlib.suppress(FileNotFoundError):
        since = max(since or 0.0, used_file(lab, server_id).stat().st_mtime)
    return None if since is None else max(0.0, time.time() - since)

"""Looking after the servers of a night while it does other things: their leases, their ends, and places that are away.

A server that somebody cancelled, whose time ran out or whose node is gone is found within seconds, in whatever place,
and recorded with the reason; what a night then does about it is decided where its work is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from nightlab.compute import open_place
from nightlab.compute.place import Job, JobState
from nightlab.errors import NightlabError, ServerError, StorageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.manifest import Manifest, damaged, list_servers
from nightlab.servers.server import Server

LEASE_SHARE = 4  # a lease is renewed this many times within its length
LOOK = 5.0  # seconds between two looks at the servers' jobs
Seen = Callable[[Manifest, Job, JobState], None]


async def look_after(lab: Lab, night: str, events: EventLog, look: float = LOOK, seen: Seen | None = None) -> None:
    """Go on until cancelled: renew the leases of a night's servers; see how their jobs stand, every `look` seconds.

    `seen` hears at each look how every server's job stands. What is wrong with one server, or a disk that is full for a
    while, costs no other one its lease.
    """
    for error in damaged(lab):
        what = f"{error.what}: its server is not looked after, and ends by its lease"
        events.once(f"damaged:{error.where}", "degradation", what=what, why=error.hint, where=error.where)
    share = lab.config.lease_seconds / LEASE_SHARE
    renewed: dict[str, float] = {}
    away: set[str] = set()
    while True:
        for manifest in await asyncio.to_thread(list_servers, lab):
            if manifest.night == night and manifest.lives:
                due = time.monotonic() - renewed.get(manifest.job, float("-inf")) >= share
                with contextlib.suppress(StorageError):  # the next look tries again, and who writes tells it
                    if await _attend(lab, manifest, events, away, due, seen):
                        renewed[manifest.job] = time.monotonic()
        await asyncio.sleep(min(look, share))


async def _attend(
    lab: Lab,
    manifest: Manifest,
    events: EventLog,
    away: set[str],
    due: bool,
    seen: Seen | None,
) -> bool:
    """Look after one server; whether its lease was renewed. Raises StorageError."""
    try:
        server = Server(lab, open_place(lab, manifest.place), manifest)
        if due:
            await asyncio.to_thread(server.renew)
        await _check(server, manifest, events, away)
        if seen is not None and (job := server.job) is not None:
            seen(manifest, job, await asyncio.to_thread(job.state))
    except StorageError:
        raise
    except NightlabError as error:
        what = f"{error.what}: {manifest.id} is not looked after, and ends by its lease"
        events.once(f"{manifest.job}:unattended", "degradation", what=what, why=error.hint, where=manifest.id)
        return False
    return due


async def _check(server: Server, manifest: Manifest, events: EventLog, away: set[str]) -> None:
    """See how a server's job stands; say when its place does not answer and when it does again."""
    try:
        state = await server.check(events)
    except ServerError:
        return  # it is recorded, and an event
    where = manifest.place
    if state == "unreachable" and where not in away:
        away.add(where)
        what = f"{where} does not answer: what runs there runs on, and nothing is known of it"
        events.emit("place_away", place=where, what=what)
    elif state != "unreachable" and where in away:
        away.discard(where)
        events.emit("place_back", place=where)

"""A server whose share of a sweep stopped: diagnosed, started again by its failure's ladder, proven, and asked again.

What its log or its answers say decides the rung; a server that fails alike many times and says nothing known is started
again once. Every rung stands in its manifest and is an event (`server_healing`); the canary compares its answers with
those of its first start. What only a person can mend, and a request that is itself wrong, are left as they are.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nightlab.compute import open_place
from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.experiments.share import Endpoint, Stopped
from nightlab.lab import Lab
from nightlab.night.serving import endpoint_of
from nightlab.servers.chat import Chat, ChatError
from nightlab.servers.failures import Diagnosis, catalogue, diagnose_answer, diagnose_log, explain
from nightlab.servers.readiness import ENDS
from nightlab.servers.server import Server

RESTARTED = frozenset({"server_error", "connection", "timeout", "contract_broken", "not_found"})
"""Failures of a sweep for which a fresh start is tried where nothing known is said."""
FROM_OUTSIDE = frozenset(ENDS.values()) - {"stopped"}
"""Ends of a job that its queue or its lease made; what a person stopped is not started again."""
_LOOK = 5.0  # seconds in which a server that was thought gone has to list its models
_locks: dict[tuple[str, str], asyncio.Lock] = {}


async def mend(lab: Lab, events: EventLog, stop: Stopped) -> Endpoint | None:
    """Mend the server of a share that stopped: where to go on, or None where it cannot be mended."""
    lock = _locks.setdefault((str(lab.root), stop.server), asyncio.Lock())
    waited = lock.locked()
    async with lock:
        server = Server.attach(lab, open_place(lab), stop.server)
        try:
            if not ((waited or stop.failure == "connection") and await _answers(server)):
                found = await asyncio.to_thread(diagnosis, server, stop)
                if found is None or not await _started_again(server, found, events):
                    return None
            return replace(endpoint_of(server.manifest), url=await server.route(events))
        except NightlabError as error:
            what = f"{server.manifest.id} could not be mended, and the other shares go on"
            events.emit("degradation", what=what, why=error.what, where="sweep")
            return None


async def gone(lab: Lab, endpoint: Endpoint) -> str | None:
    """Why a server that takes no connection need not be waited for, by its record and its place; None: it may live."""

    def asked() -> str | None:
        try:
            return Server.attach(lab, open_place(lab), endpoint.server).gone()
        except NightlabError:
            return None  # what cannot be read proves no end: the sweep's patience decides

    return await asyncio.to_thread(asked)


async def _started_again(server: Server, found: Diagnosis, events: EventLog) -> bool:
    """Start a ready or lost server again, and prove it; False where nothing is left to try. Raises ServerError."""
    before = server.manifest
    if before.state not in ("ready", "failed"):
        return False  # somebody stopped it, or starts it already
    server.note(state="starting", failure=None, error=None, remedy=None, stopped=None)
    rung = await server.rung(found, events)
    if rung is None:
        server.note(**{name: getattr(before, name) for name in ("state", "failure", "error", "remedy", "stopped")})
        return False
    if found.cls in FROM_OUTSIDE:
        what = f"the server of {before.model} was lost and started again"
        events.emit("degradation", what=what, why=found.cause, server=before.id, where="sweep")
    await server.start_again(*rung)
    await server.ensure_ready(events)
    return True


async def _answers(server: Server) -> bool:
    """Whether it is proven and there: it was mended for another sweep meanwhile, or the network was away."""
    if server.manifest.state != "ready" or not await asyncio.to_thread(server.alive):
        return False
    async with Chat(await server.route(), limit=1) as chat:
        try:
            return bool(await chat.models(timeout=_LOOK))
        except ChatError:
            return False


def _end(server: Server) -> str:
    """What the end of its job from outside is called, by its record or by its place; empty where there is none."""
    job = server.job
    return server.manifest.failure or (ENDS.get(job.reason() or "", "") if job is not None else "")


def diagnosis(server: Server, stop: Stopped) -> Diagnosis | None:
    """What is behind the failures of a share: its job's end, its log's cause, its answers'; else that it is silent."""
    known, log = catalogue(server.lab.failures), server.manifest.log
    if (end := _end(server)) in FROM_OUTSIDE:
        return explain(end, known=known)
    read = diagnose_log(server.lab.root / log, known=known) if log else None
    if read is not None and read.cls is not None and read.fatal:
        return read
    said = diagnose_answer(stop.error, known=known)
    if said.cls is not None:
        return said
    return explain("share_stopped", stop.why, known) if stop.failure in RESTARTED else None

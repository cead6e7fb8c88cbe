"""Proof around a sweep and across nights: servers are adopted, adapters reloaded, and answers set aside.

What a server gave counts as long as the canary before and the canary after agree, its code was what the disk holds, and
its rows are plausible. Rows that fail one of these are set aside (marked: they stay in their files, with the reason),
their cells are missing again, and the night goes on. One reason is acted on once for each experiment and model: when it
comes again on another server it is said, and the rows stay, since the model itself may be so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightlab.compute import open_place
from nightlab.errors import CanaryFailed, NightlabError, ServerError
from nightlab.events import EventLog
from nightlab.experiments.lock import read_lock
from nightlab.experiments.marks import Marks
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import SAMPLES, Samples
from nightlab.experiments.share import Endpoint
from nightlab.judging.invalid import Selection
from nightlab.lab import Lab
from nightlab.servers.adoption import Adoption, adopt
from nightlab.servers.chat import LOAD, Chat, ChatError
from nightlab.servers.failures import catalogue, diagnose_answer
from nightlab.servers.manifest import Manifest, list_servers
from nightlab.servers.plausible import Finding, implausible
from nightlab.servers.server import Server

BY = "nightlab: proof of treatment"


async def adopt_all(lab: Lab, events: EventLog) -> list[Adoption]:
    """Verify every server that was ready when the last night ended; set aside what a doubtful one gave since."""
    ready = [manifest for manifest in list_servers(lab) if manifest.state == "ready"]
    found = await asyncio.gather(*(adopt(Server(lab, open_place(lab, m.place), m), events) for m in ready))
    for one in found:
        fields = {"outcome": one.outcome, "why": one.why, "failure": one.failure}
        events.emit("server_adopted", server=one.server, model=one.model, **fields)
        if one.outcome == "stale" and one.since is not None:
            await asyncio.to_thread(_set_aside_since, lab, one, events)
        if one.canary is not None:
            await _set_aside_unproven(lab, events, one.server, one.canary, one.failure, "when it was adopted")
    return list(found)


async def prove(server: Server, events: EventLog) -> Manifest:
    """Prove a server; one that was proven before and fails now takes what it gave since with it. Raises ServerError."""
    seen = server.manifest
    try:
        return await server.ensure_ready(events)
    except CanaryFailed as error:
        last = (seen.canary or {}).get("id")
        if seen.state == "ready" and last is not None:
            await _set_aside_unproven(server.lab, events, seen.id, last, error.failure, "when it was asked again")
        raise


def _set_aside_since(lab: Lab, one: Adoption, events: EventLog) -> None:
    selection = Selection(samples={"server": one.server, "since": str(one.since)})
    for name in lab.experiment_names():
        _set_aside(lab, name, selection, f"stale code: {one.why}", events)


async def reload(lab: Lab, events: EventLog, endpoint: Endpoint, served: str) -> Endpoint | None:
    """Load an adapter again that a server no longer knows, and prove the server anew; None where that fails."""
    server = _server(lab, endpoint.server)
    async with _reloading(server.manifest.id):
        adapter = server.manifest.adapters.get(served)
        if adapter is None:
            return None
        try:
            async with Chat(endpoint.url) as chat:
                if served not in {card.id for card in await chat.models()}:
                    await chat.load_adapter(served, Path(adapter.path))
                    names = {"server": server.manifest.id, "condition": adapter.condition}
                    events.emit("adapter_reloaded", **names, adapter=served)
                    await server.prove_again(events, "reloaded")
        except CanaryFailed as error:
            await _set_aside_unproven(lab, events, endpoint.server, endpoint.canary, error.failure, "after a reload")
            return None
        except (ChatError, ServerError) as error:
            why, failure = f"the adapter {served} cannot be loaded again: {error.what}", _class_of(lab, error)
            what = f"{server.manifest.id} forgot an adapter"
            events.emit("degradation", what=what, why=why, where="sweep", failure=failure)
            return None
        proof = _server(lab, endpoint.server).manifest.canary
        return replace(endpoint, canary=proof["id"] if proof else endpoint.canary)


def _class_of(lab: Lab, error: ChatError | ServerError) -> str:
    """The class of a reload that failed: the server's own, or what the body of its answer says."""
    if isinstance(error, ServerError):
        return error.failure
    found = diagnose_answer(error.body, path=LOAD, known=catalogue(lab.failures))
    return found.cls or error.failure_class


_locks: dict[str, asyncio.Lock] = {}


def _reloading(server: str) -> asyncio.Lock:
    """One at a time for each server; the others find the adapter there."""
    return _locks.setdefault(server, asyncio.Lock())


async def swept(lab: Lab, events: EventLog, plan: Plan, server_id: str) -> None:
    """After a server's share of a sweep: are its rows plausible, and does it still answer as at the start?

    Raises CanaryFailed where it does not; what it gave since its last canary is set aside first. Of a server that is
    gone nothing more can be asked: its rows stand by the canary before, and that is said.
    """
    server = _server(lab, server_id)
    since = (server.manifest.canary or {}).get("id")
    rows = await asyncio.to_thread(_rows, plan.folder, server_id)
    if not rows:
        return
    for finding in implausible(rows, server.manifest.conditions, server.manifest.reference):
        await asyncio.to_thread(_quarantine, lab, events, plan, server, finding)
    try:
        await server.prove_again(events, f"end of {plan.name}")
    except CanaryFailed as error:
        await _set_aside_unproven(lab, events, server_id, since, error.failure, "at the end of the sweep")
        raise
    except ServerError as error:
        what = f"no canary after the sweep of {server.manifest.model}"
        events.emit("degradation", what=what, why=error.what, where=plan.name)


async def _set_aside_unproven(
    lab: Lab, events: EventLog, server: str, canary: str | None, failure: str | None, when: str
) -> None:
    """Set aside what a server gave since the last canary that passed."""
    selection = Selection(samples={"server": server, **({"canary": canary} if canary else {})})
    for name in lab.experiment_names():
        await asyncio.to_thread(_set_aside, lab, name, selection, f"{failure} {when}", events)


def _server(lab: Lab, server_id: str) -> Server:
    return Server.attach(lab, open_place(lab), server_id)


def _rows(folder: Path, server: str) -> list[dict[str, Any]]:
    if not (folder / SAMPLES).exists():
        return []
    return [row for row in Samples(folder).rows() if row.get("server") == server]


def _quarantine(lab: Lab, events: EventLog, plan: Plan, server: Server, finding: Finding) -> None:
    reason = f"implausible {finding.kind} of {server.manifest.model}"
    if any(mark.by == BY and mark.why.startswith(reason) for mark in Marks.read(plan.folder).all):
        why = f"{finding.what}; it was so on another server before, so the rows stay"
        events.emit("degradation", what=f"{reason} again", why=why, where=plan.name)
        return
    chosen: Sequence[dict[str, str]] = [{"condition": name} for name in finding.conditions] or [{}]
    for part in chosen:
        selection = Selection(samples={"server": server.manifest.id, **part})
        _set_aside(lab, plan.name, selection, f"{reason}: {finding.what}", events)


def _set_aside(lab: Lab, experiment: str, selection: Selection, why: str, events: EventLog) -> None:
    from nightlab.night.invalidation import invalidate  # it holds the evidence rooms: seldom needed, slow to import

    if read_lock(lab.experiments / experiment) is None:
        return
    try:
        done = invalidate(lab, selection, why, BY, experiment=experiment, events=events)
    except NightlabError as error:
        events.emit("degradation", what=f"rows of {experiment} could not be set aside", why=error.what, where="proof")
        raise
    for one in done:
        counts = {"samples": one.samples, "judgments": one.judgments}
        events.emit("quarantine", experiment=one.experiment, what=str(selection), why=why, **counts)

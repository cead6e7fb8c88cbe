"""Servers that live on from before: verified and taken over, or stopped; and of those that are gone it is said.

Verified is who it is (its name on fresh connections), what runs (its command, its code against the disk), and how it
answers (the canary, against its first one). One that runs older code than the disk holds is stopped: its answers since
the change are doubtful, and the caller is told since when.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from nightlab.errors import CanaryFailed, ServerError
from nightlab.events import EventLog
from nightlab.files import written
from nightlab.servers.code import Stale, stale
from nightlab.servers.failures import explain
from nightlab.servers.server import Server
from nightlab.servers.wanted import argv_of, code_now, signature

Outcome = Literal["adopted", "stale", "failed", "gone", "over"]


@dataclass(frozen=True)
class Adoption:
    """What became of a server that was found; `since` is when its answers became doubtful (UTC, ISO 8601).

    `canary` is the last proof that still held, where the one of now failed: what came after it is doubtful, too.
    """

    server: str
    model: str
    outcome: Outcome
    why: str = ""
    failure: str | None = None
    since: str | None = None
    canary: str | None = None


async def adopt(server: Server, events: EventLog) -> Adoption:
    """Verify one server that was ready, and take it over; one that cannot be verified is stopped."""
    seen = server.manifest
    if seen.state != "ready":
        return Adoption(seen.id, seen.model, "over", seen.state)
    try:
        await server.check(events)
    except ServerError as lost:
        return Adoption(seen.id, seen.model, "gone", lost.what, lost.failure)
    if changed := await asyncio.to_thread(doubts, server):
        error = server.error(explain("stale_code", "; ".join(changed.reasons)))
        await server.fail(error, events)
        return Adoption(seen.id, seen.model, "stale", "; ".join(changed.reasons), "stale_code", written(changed.since))
    try:
        await server.prove_again(events, "adopted")
    except CanaryFailed as error:
        last = (seen.canary or {}).get("id")
        return Adoption(seen.id, seen.model, "failed", error.what, error.failure, canary=last)
    except ServerError as error:
        return Adoption(seen.id, seen.model, "failed", error.what, error.failure)
    return Adoption(seen.id, seen.model, "adopted")


def doubts(server: Server) -> Stale | None:
    """What speaks against what a living server runs: another command than its manifest's, older code or weights."""
    seen, job = server.manifest, server.job
    found = stale(seen.code, now) if seen.code and (now := code_now(server.lab, seen)) else None
    reasons = list(found.reasons) if found else []
    if job is not None and not job.spec.pick_port and tuple(job.spec.argv) != argv_of(seen):
        reasons.append("its command is another one than its manifest says")
    folder = server.lab.root / seen.model_path
    if seen.model_files is not None and signature(folder) != seen.model_files:
        reasons.append(f"the model's files at {seen.model_path} changed")
    if found is not None and reasons == found.reasons:
        return found
    return Stale(reasons=reasons, since=seen.code.at if seen.code else 0.0) if reasons else None

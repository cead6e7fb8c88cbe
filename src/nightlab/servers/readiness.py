"""When a server counts as ours and ready: our job lives, its log says so, and our name answers on fresh connections.

An answer on the port proves nothing by itself: another server may stand there, or share the port with ours. So the
served name carries a nonce, and it is asked for on several new connections before anything is asked of the model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nightlab.compute.place import OVER, Job, JobState
from nightlab.compute.route import Proof
from nightlab.errors import ServerError
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
from nightlab.servers.engines import engine, stage
from nightlab.servers.failures import (
    READY,
    Catalogue,
    Diagnosis,
    catalogue,
    diagnose,
    diagnose_answer,
    explain,
    read_log,
)
from nightlab.servers.manifest import Manifest

FRESH = 3  # new connections on which the server must name itself
_LOOK = 0.05  # seconds between two looks
DYING = 0.5  # seconds that a server which failed its proof is given to be gone
DYING_QUEUED = 5.0  # the same where a queue and a shared file system tell of it
_QUEUE_LOOK = 0.5  # the same while it waits for its turn
ENDS = {
    "lease": "lease_expired",
    "stopped": "stopped",
    "cancelled": "job_cancelled",
    "timeout": "job_timeout",
    "preempted": "job_preempted",
    "node_fail": "node_failed",
    "out_of_memory": "job_memory",
}
"""What a job's end from outside is called."""


@dataclass(frozen=True)
class Starting:
    """A server that was started: its manifest and its job."""

    manifest: Manifest
    job: Job
    known: Catalogue = field(default_factory=catalogue, kw_only=True)

    def failed(self, diagnosis: Diagnosis, what: str | None = None) -> ServerError:
        """The error of this server for a diagnosis."""
        return ServerError(
            f"the server of {self.manifest.model} failed: {what or diagnosis.cause}",
            failure=diagnosis.cls or "unknown",
            log=self.job.log,
            where=self.manifest.id,
            hint=diagnosis.hint or None,
        )


@dataclass(frozen=True)
class Subject(Starting):
    """A server that is to be proven, with a client."""

    chat: Chat


async def wait_until_started(subject: Starting, timeout: float, on_queued: Callable[[str], None] | None = None) -> None:
    """Wait until its log says that it listens, `timeout` seconds from when it has its turn. Raises ServerError.

    The time does not run while its place cannot be asked.
    """
    deadline, told = time.monotonic() + timeout, False
    while READY not in await asyncio.to_thread(read_log, subject.job.log):
        state = await check_alive(subject)
        if state == "queued" and on_queued is not None and not told:
            why: str | None = await asyncio.to_thread(subject.job.reason)
            on_queued(why or "waiting")
            told = True
        if state in ("queued", "unreachable"):
            deadline = time.monotonic() + timeout
            await asyncio.sleep(_QUEUE_LOOK)
        await _next_look(subject, deadline, "it did not finish starting in time")


async def wait_until_ready(subject: Subject, timeout: float) -> None:
    """Wait until the server is proven to be ours and completes one token. Raises ServerError with its class."""
    await wait_until_started(subject, timeout)
    deadline = time.monotonic() + timeout
    await _identified(subject, deadline)
    await completes(subject, subject.manifest.served_name, deadline)


async def completes(subject: Subject, name: str, deadline: float) -> None:
    """See one token of a served model before a moment of the monotonic clock. Raises ServerError with its class."""
    request = ChatRequest(name, (Message("user", "Hello"),), max_tokens=1)
    try:
        await subject.chat.complete(request, timeout=max(1.0, deadline - time.monotonic()))
    except ChatError as error:
        await check_alive(subject)
        diagnosis = diagnose_answer(error.body, path=request.path, known=subject.known)
        raise subject.failed(explain("no_answer") if diagnosis.cls is None else diagnosis, error.what) from error


async def check_alive(subject: Starting) -> JobState:
    """The state of a job that is not over, else its diagnosed ServerError. A place that is away proves no end."""
    state = await asyncio.to_thread(subject.job.state)
    if state in OVER:
        raise await _post_mortem(subject, state)
    return state


async def check_died(subject: Starting, seconds: float = DYING) -> None:
    """Raise the diagnosed ServerError of a server that ends about now: its connections went before its job does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await check_alive(subject)
        await asyncio.sleep(_LOOK)


async def _identified(subject: Subject, deadline: float) -> None:
    """Our name first in /v1/models, on every one of several fresh connections."""
    while True:
        names = await asyncio.gather(*(_name(subject.chat.url) for _ in range(FRESH)))
        ours = [name == subject.manifest.served_name for name in names]
        if all(ours):
            return
        await check_alive(subject)
        stranger = next((n for n, own in zip(names, ours, strict=True) if n is not None and not own), None)
        if stranger is not None:
            cls = "port_shared_silently" if any(ours) else "foreign_server"
            raise subject.failed(explain(cls), f"port {subject.manifest.port} is answered by {stranger!r}")
        await _next_look(subject, deadline, "it did not answer in time")


def proof_of(manifest: Manifest) -> Proof:
    """Whether a URL is answered by exactly this server: a tunnel asks it after every reconnection."""

    async def proves(url: str) -> bool:
        return await _name(url) == manifest.served_name

    return proves


async def _name(url: str) -> str | None:
    """How the server at an address calls itself; None where nothing answers. What is no model server has no name."""
    async with Chat(url, limit=1) as chat:
        try:
            cards = await chat.models(timeout=5)
        except ChatError as error:
            return None if error.failure_class in ("connection", "timeout") else "something that is no model server"
        return cards[0].id if cards else "a server without a model"


async def _next_look(subject: Starting, deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        log = await asyncio.to_thread(read_log, subject.job.log)
        found, reached = diagnose(log, known=subject.known), stage(engine(subject.manifest.engine), log)
        said = f"{what}; by its log it came as far as: {reached}"
        raise subject.failed(explain("start_timeout") if found.cls is None else found, said)
    await asyncio.sleep(_LOOK)


async def _post_mortem(subject: Starting, state: JobState) -> ServerError:
    """The error of a server whose job is over; a stranger on its port is named."""
    reason = await asyncio.to_thread(subject.job.reason)
    if reason in ENDS:
        return subject.failed(explain(ENDS[reason]))
    log, code = await asyncio.to_thread(read_log, subject.job.log), subject.job.exit_code()
    found = diagnose(log, exit_code=code, known=subject.known)
    if found.cls is None and state == "lost":
        found = explain("server_lost")
    if found.cls == "port_in_use":
        name = await _name(subject.chat.url) if isinstance(subject, Subject) else None
        holder = f" by {name!r}" if name else ""
        return subject.failed(found, f"port {subject.manifest.port} is taken{holder}")
    return subject.failed(found, f"{found.cause}: {found.line!r}" if found.line else found.cause)


async def version_of(chat: Chat) -> str:
    """What a server says that it is."""
    try:
        return await chat.version()
    except ChatError:
        return "unknown"

"""When a server counts as ours and ready: our job lives, its log says so, and our name answers on fresh connections.

An answer on the port proves nothing by itself: another server may stand there, or share the port with ours. So the
served name carries a nonce, and it is asked for on several new connections before anything is asked of the model.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from nightlab.compute.place import Job
from nightlab.errors import ServerError
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
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


@dataclass(frozen=True)
class Subject:
    """A server that is to be proven: its manifest, its job, and a client."""

    manifest: Manifest
    job: Job
    chat: Chat
    known: Catalogue = field(default_factory=catalogue)

    def failed(self, diagnosis: Diagnosis, what: str | None = None) -> ServerError:
        """The error of this server for a diagnosis."""
        return ServerError(
            f"the server of {self.manifest.model} failed: {what or diagnosis.cause}",
            failure=diagnosis.cls or "unknown",
            log=self.job.log,
            where=self.manifest.id,
            hint=diagnosis.hint or None,
        )


async def wait_until_ready(subject: Subject, timeout: float) -> None:
    """Wait until the server is proven to be ours and completes one token. Raises ServerError with its class."""
    deadline = time.monotonic() + timeout
    await _started(subject, deadline)
    await _identified(subject, deadline)
    await _completes(subject, deadline)


async def check_alive(subject: Subject) -> None:
    """Raise the diagnosed ServerError of a server whose job does not run."""
    state = await asyncio.to_thread(subject.job.state)
    if state != "running":
        raise await _post_mortem(subject, state)


async def _started(subject: Subject, deadline: float) -> None:
    while READY not in await asyncio.to_thread(read_log, subject.job.log):
        await check_alive(subject)
        await _next_look(subject, deadline, "it did not finish starting in time")


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


async def _name(url: str) -> str | None:
    """How the server at an address calls itself; None where nothing answers. What is no model server has no name."""
    async with Chat(url, limit=1) as chat:
        try:
            cards = await chat.models(timeout=5)
        except ChatError as error:
            return None if error.failure_class in ("connection", "timeout") else "something that is no model server"
        return cards[0].id if cards else "a server without a model"


async def _completes(subject: Subject, deadline: float) -> None:
    request = ChatRequest(subject.manifest.served_name, (Message("user", "Hello"),), max_tokens=1)
    try:
        await subject.chat.complete(request, timeout=max(1.0, deadline - time.monotonic()))
    except ChatError as error:
        await check_alive(subject)
        diagnosis = diagnose_answer(error.body, path=request.path, known=subject.known)
        raise subject.failed(explain("no_answer") if diagnosis.cls is None else diagnosis, error.what) from error


async def _next_look(subject: Subject, deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        found = diagnose(await asyncio.to_thread(read_log, subject.job.log), known=subject.known)
        raise subject.failed(explain("start_timeout") if found.cls is None else found, what)
    await asyncio.sleep(_LOOK)


async def _post_mortem(subject: Subject, state: str) -> ServerError:
    """The error of a server whose job is over; a stranger on its port is named."""
    reason = subject.job.reason()
    if reason in ("lease", "stopped"):
        return subject.failed(explain("lease_expired" if reason == "lease" else "stopped"))
    log, code = await asyncio.to_thread(read_log, subject.job.log), subject.job.exit_code()
    found = diagnose(log, exit_code=code, known=subject.known)
    if found.cls is None and state == "lost":
        found = explain("server_lost")
    if found.cls == "port_in_use":
        name = await _name(subject.chat.url)
        holder = f" by {name!r}" if name else ""
        return subject.failed(found, f"port {subject.manifest.port} is taken{holder}")
    return subject.failed(found, f"{found.cause}: {found.line!r}" if found.line else found.cause)


async def load_adapters(subject: Subject, timeout: float) -> None:
    """Load every adapter that is not there yet under its content's name, and see all of them listed."""
    wanted = subject.manifest.adapters
    try:
        there = {card.id: card.root for card in await subject.chat.models()}
        missing = [name for name in wanted if name not in there]
        await asyncio.gather(*(_load(subject, name, Path(wanted[name].path), timeout) for name in missing))
        cards = {card.id: card for card in await subject.chat.models()}
    except ChatError as error:
        await check_alive(subject)
        raise subject.failed(explain("no_answer"), error.what) from error
    for name, adapter in wanted.items():
        card = cards.get(name)
        if card is None or (card.root is not None and Path(card.root).resolve() != Path(adapter.path).resolve()):
            found = "not listed" if card is None else f"served from {card.root}"
            raise subject.failed(explain("model_404"), f"adapter {name} ({adapter.condition}) is {found}")


async def _load(subject: Subject, name: str, path: Path, timeout: float) -> None:
    try:
        await subject.chat.load_adapter(name, path, timeout=timeout)
    except ChatError as error:
        diagnosis = diagnose_answer(error.body, path="/v1/load_lora_adapter", known=subject.known)
        if diagnosis.cls == "lora_already_loaded":
            return  # asked twice: its path is compared afterwards
        await check_alive(subject)
        what = f"adapter {name} cannot be loaded: {error.what}"
        raise subject.failed(diagnosis, what) from error

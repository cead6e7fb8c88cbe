"""A model server as a leased, identified object: start, prove, adopt, stop.

Everything needed to go on stands in its manifest, so the process that started it may die. It ends itself when nobody
renews its lease. Started by key: the same key of the same night is the same server.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools

from nightlab.compute import open_place
from nightlab.compute.place import NEVER_STARTED, OVER, Job, Place, Told, answered, tells
from nightlab.compute.route import Route
from nightlab.errors import CanaryFailed, PlaceUnreachable, ServerError
from nightlab.events import EventLog
from nightlab.files import now
from nightlab.lab import Lab
from nightlab.servers import canary, healing, learned, loading, readiness, routes, verdicts
from nightlab.servers.chat import Chat
from nightlab.servers.failures import Diagnosis, Move, catalogue, explain
from nightlab.servers.manifest import Manifest, job_key, list_servers, load, manifest_path, save
from nightlab.servers.wanted import Wanted, job_spec, new_manifest, server_id

__all__ = ["Server", "Wanted", "list_servers", "stop_all"]


class Server:
    """One model server, by its manifest."""

    def __init__(self, lab: Lab, place: Place, manifest: Manifest) -> None:
        self.lab, self.place, self.manifest = lab, place, manifest

    @classmethod
    async def launch(cls, lab: Lab, place: Place, wanted: Wanted, *, key: str, night: str, port: int = 0) -> Server:
        """Start a server, or find the one that this key of this night started. It is not proven yet: `ensure_ready`.

        `port` 0 is a free one. A place that is away is no error: `ensure_ready` waits for it. Raises AdapterError,
        StorageError.
        """
        name = server_id(wanted, night, key)
        if manifest_path(lab, name).exists():
            server = cls.attach(lab, place, name)
        else:
            manifest = await asyncio.to_thread(new_manifest, lab, place, wanted, key=key, night=night, port=port)
            manifest = await asyncio.to_thread(healing.taught, lab, manifest)
            server = cls(lab, place, manifest)
            server._save()
        if server.manifest.state == "starting":
            await server._start()
        return server

    @classmethod
    def attach(cls, lab: Lab, place: Place, server_id: str) -> Server:
        """A server that was started before, by this process or another. Raises UsageError where there is none."""
        manifest = load(lab, server_id)
        return cls(lab, place if place.name == manifest.place else open_place(lab, manifest.place), manifest)

    @property
    def job(self) -> Job | None:
        """The job it runs as, once it was started."""
        return self.place.find(self.manifest.job)

    def alive(self) -> bool:
        """Whether its job is not over, as far as its place can say; that alone does not make it ready."""
        job = self.job
        return job is not None and job.state() not in OVER

    def gone(self) -> str | None:
        """Why nobody will answer any more, by its record or its job's end; None where it lives, or may yet.

        One that is being started again is not gone, and a place that cannot be asked proves nothing.
        """
        seen = load(self.lab, self.manifest.id)
        if not seen.lives:
            return f"the server is recorded as {seen.state}" + (f" ({seen.failure})" if seen.failure else "")
        if seen.state == "starting":
            return None
        job = self.place.find(seen.job)
        state = job.state() if job is not None else "lost"
        return f"the server's job is over ({state})" if state in OVER else None

    def renew(self) -> None:
        """Prolong its lease; without this it ends itself after `lease_seconds`."""
        if (job := self.job) is not None:
            job.renew()

    async def route(self, events: EventLog | None = None) -> Route:
        """The way to it, opened once in this event loop and kept until it is stopped. Raises NightlabError.

        While its place does not answer it waits, and says so in `events`.
        """
        job = self.job
        port = self.manifest.port or (job.port() if job is not None else None)
        if job is None or not port:
            raise self.error(explain("server_lost"))
        proves = readiness.proof_of(self.manifest)
        ask = functools.partial(self.place.reach, job, port, proves)
        return await routes.opened(self._way(), lambda: answered(ask, self._tells(events)))

    def _way(self) -> tuple[str, str]:
        return str(self.lab.root), self.manifest.job

    async def ensure_ready(self, events: EventLog) -> Manifest:
        """Prove that it is ours, answers, and has its treatment; again for one that was ready before.

        A server that cannot be proven is stopped. Raises ServerError with a class and a remedy, CanaryFailed.
        """
        verdicts.refuse_ended(self.lab, self.manifest)
        while True:
            key = f"{self.manifest.job}:starting"
            events.once(key, "server_starting", server=self.manifest.id, **self._names(), port=self.manifest.port)
            await self._taken(events)
            try:
                return await self._prove(events, "adopted" if self.manifest.state == "ready" else "started")
            except ServerError as error:
                rung = await self._next_rung(error, events)
                if rung is None:
                    await self.fail(error, events)
                    raise
            await self.start_again(*rung)

    async def check(self, events: EventLog) -> str:
        """How the job of a ready server stands; one that is over is recorded as failed. Raises that ServerError."""
        job = self.job
        if self.manifest.state == "starting" and job is not None:
            return "unreachable" if await asyncio.to_thread(job.state) == "unreachable" else "starting"
        if self.manifest.state != "ready":
            return self.manifest.state
        try:
            if job is None:
                raise self.error(explain("server_lost"))
            return await readiness.check_alive(readiness.Starting(self.manifest, job))
        except ServerError as error:
            self.manifest = load(self.lab, self.manifest.id)
            if self.manifest.state != "ready":
                return self.manifest.state  # its owner was faster
            await self.fail(error, events)
            raise

    async def prove_again(self, events: EventLog, at: str) -> Manifest:
        """The canary once more, in a ready server's life: `at` says when (adopted, reloaded, end of a sweep).

        Its answers are compared with those of the first canary. A server that fails is stopped. Raises ServerError,
        CanaryFailed.
        """
        verdicts.refuse_ended(self.lab, self.manifest)
        try:
            return await self._prove(events, at)
        except ServerError as error:
            await self.fail(error, events)
            raise

    async def stop(self, events: EventLog | None = None, *, grace: float = 5.0) -> None:
        """End it and everything it started; a failed server stays recorded as failed."""
        await routes.closed(self._way())
        if (job := self.job) is not None:
            await asyncio.to_thread(job.stop, grace)
        if self.manifest.lives:
            self._save(state="stopped", stopped=now())
            if events is not None:
                events.emit("server_stopped", server=self.manifest.id, model=self.manifest.model)

    async def _start(self) -> None:
        """Start its job; where the place does not answer just now, `ensure_ready` does it when it answers again."""
        with contextlib.suppress(PlaceUnreachable):
            job = await asyncio.to_thread(self.place.start, job_spec(self.lab, self.manifest))
            self._save(log=self.lab.relative(job.log))

    async def _taken(self, events: EventLog) -> None:
        """Wait until its place has taken the job of a server that is being started."""
        job = self.job
        if self.manifest.state != "starting":
            return
        if job is None or not job.id or await asyncio.to_thread(job.reason) == NEVER_STARTED:
            start = functools.partial(asyncio.to_thread, self.place.start, job_spec(self.lab, self.manifest))
            job = await answered(start, self._tells(events))
            self._save(log=self.lab.relative(job.log))

    def _tells(self, events: EventLog | None) -> Told:
        return tells(events, self.place.name, f"the server of {self.manifest.model}")

    async def _next_rung(self, error: ServerError, events: EventLog) -> tuple[Move, Diagnosis] | None:
        """The remedy to start again with, prepared and said; None where code knows none that is left."""
        found = healing.read_failure(self.lab, error) if self.manifest.state == "starting" else None
        return None if found is None else await self.rung(found, events)

    async def rung(self, found: Diagnosis, events: EventLog) -> tuple[Move, Diagnosis] | None:
        """Its job ended, and a ladder's next remedy prepared and said, for `start_again`; None: nothing is done."""
        while (move := healing.next_rung(self.lab, self.manifest, found)) is not None:
            await routes.closed(self._way())
            if (job := self.job) is not None:
                await asyncio.to_thread(job.stop)
            healing.told(events, self.manifest, move, found)
            trouble = await healing.prepare(self.lab, self.manifest, move)
            if trouble is None:
                return move, found
            events.emit("error", what=trouble, where=self.manifest.id)
            self._save(healed=healing.healed(self.lab, self.manifest, move, found).healed)
        return None

    async def start_again(self, move: Move, found: Diagnosis) -> None:
        """Start it as a move says, as a job of its own; it is not proven yet."""
        self.manifest = healing.healed(self.lab, self.manifest, move, found)
        attempt = self.manifest.attempt + 1
        port = self.place.free_port() if move.new_port or not self.manifest.port_wanted else self.manifest.port
        reference = self.manifest.reference if self.manifest.ready else {}  # else no row is compared with it
        job = job_key(self.manifest.id, attempt)
        self._save(attempt=attempt, job=job, port=port, url=None, reference=reference)
        await self._start()

    async def _prove(self, events: EventLog, at: str) -> Manifest:
        job, timeout = self.job, self.lab.config.server_timeout
        if job is None:
            raise self.error(explain("server_lost"))
        known = catalogue(self.lab.failures)
        starting = readiness.Starting(self.manifest, job, known=known)
        await readiness.check_alive(starting)
        if job.spec.pick_port:
            await readiness.wait_until_started(starting, timeout, lambda why: self._queued(events, why))
        route = await self.route(events)
        self._save(url=route.url)
        async with Chat(route) as chat:
            subject = readiness.Subject(self.manifest, job, chat, known=known)
            await readiness.wait_until_ready(subject, timeout)
            self._save(residency=await loading.load_adapters(subject, timeout))
            await self._check_canary(subject, events, at)
            residency = await loading.settle(subject, timeout)
            versions = {**self.manifest.versions, "server": await readiness.version_of(chat)}
        if self._stopped_meanwhile():
            raise self.error(explain("stopped"))
        self._save(state="ready", ready=self.manifest.ready or now(), versions=versions, residency=residency)
        await asyncio.to_thread(learned.remember, self.lab, self.manifest, *healing.lesson_of(self.manifest))
        key = f"{self.manifest.job}:ready"
        events.once(key, "server_ready", server=self.manifest.id, **self._names(), url=self.manifest.url)
        return self.manifest

    def _queued(self, events: EventLog, why: str) -> None:
        events.once(f"{self.manifest.job}:queued", "server_queued", server=self.manifest.id, **self._names(), why=why)

    async def _check_canary(self, subject: readiness.Subject, events: EventLog, at: str) -> None:
        seen, model = self.manifest, self.lab.root / self.manifest.model_path
        result = await canary.check(subject.chat, seen, model=model, before=seen.reference)
        if result.failure is not None:  # a server that is gone fails every check: that says nothing of its answers
            await readiness.check_died(subject, readiness.DYING_QUEUED if self.place.queues else readiness.DYING)
        self._save(**canary.recorded(seen, result, at))
        named = {"server": seen.id, "model": seen.model, "canary": self.manifest.canaries[-1]["id"]}
        events.emit("canary", **named, **result.summary(at))
        if result.failure is not None:
            raise self.error(explain(result.failure), CanaryFailed)

    async def fail(self, error: ServerError, events: EventLog) -> None:
        """Record why, and leave nothing running; what somebody stopped meanwhile stays stopped."""
        if error.failure == "stopped":
            self._save(state="stopped", stopped=now())
            return
        remedy = error.hint or ""
        self._save(state="failed", failure=error.failure, error=error.what, remedy=remedy, stopped=now())
        if (job := self.job) is not None:
            await asyncio.to_thread(job.stop)
        fields = {"failure": error.failure, "error": error.what, "remedy": remedy, "log": self.manifest.log}
        events.emit("server_failed", server=self.manifest.id, model=self.manifest.model, **fields)

    def _stopped_meanwhile(self) -> bool:
        """Whether another holder of this server has stopped it; its record is taken over then."""
        current = load(self.lab, self.manifest.id)
        if current.state == "stopped":
            self.manifest = current
        return current.state == "stopped"

    def error(self, diagnosis: Diagnosis, kind: type[ServerError] = ServerError) -> ServerError:
        """The error of this server for a diagnosis."""
        return verdicts.error_of(self.lab, self.manifest, diagnosis, kind)

    def _names(self) -> dict[str, object]:
        return {"model": self.manifest.model, "served_name": self.manifest.served_name}

    def note(self, **changes: object) -> None:
        """Write something about it into its manifest: who owns it, how long it is kept."""
        self._save(**changes)

    def _save(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        save(self.lab, self.manifest)


async def stop_all(lab: Lab, events: EventLog | None = None, *, owners: str = "") -> list[str]:
    """Stop every server that still runs, whatever its manifest says, of owners so beginning; the names of those."""

    async def stop(manifest: Manifest) -> str | None:
        server = Server(lab, open_place(lab, manifest.place), manifest)
        ran = await asyncio.to_thread(server.alive)
        if ran or manifest.lives:
            await server.stop(events)
        return manifest.id if ran else None

    theirs = [manifest for manifest in list_servers(lab) if manifest.night.startswith(owners)]
    stopped = await asyncio.gather(*map(stop, theirs))
    return [name for name in stopped if name is not None]

"""The long work of a night behind handles: servers becoming ready, sweeps, judging. The night waits; no model polls.

A handle names work by what it is for (`server:ID`, `sweep:EXPERIMENT:MODEL`, `judges:EXPERIMENT`), so that a night that
was killed starts it again by its name alone: every kind looks at the files first and does only what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightlab.budget import Budget
from nightlab.compute.gpu_time import GpuTime
from nightlab.compute.place import Job, JobState, Place
from nightlab.errors import BudgetExceeded, NightlabError, ServerError, SweepStopped
from nightlab.events import EventLog
from nightlab.experiments.looks import called_cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples, sole_writer
from nightlab.experiments.sweep import run_sweep
from nightlab.lab import Lab
from nightlab.night import mending, proof, serving
from nightlab.night.judging import judge_experiment
from nightlab.night.looking_after import look_after
from nightlab.night.reporting import look_at
from nightlab.runs.plan import RunPlan, kind_of
from nightlab.runs.runner import run_all
from nightlab.servers import routes
from nightlab.servers.leases import in_use
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server

Work = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


@dataclass
class _Store:
    samples: Samples
    held: contextlib.ExitStack
    users: int = 0


class NightWorks:
    """The background work of one night; `stop` wakes every wait, for good."""

    def __init__(self, lab: Lab, place: Place, night: str, events: EventLog, budget: Budget) -> None:
        self.lab = lab
        self.place = place
        self.night = night
        self.events = events
        self.budget = budget
        self.stop = asyncio.Event()
        self.why_stopped = "stopped from outside"
        self.stir = asyncio.Event()
        """Set to wake the waits under way, or the next one, once, so that a turn follows."""
        self._tasks: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._stores: dict[str, _Store] = {}
        self._gpu_time = GpuTime(budget, _began(events))
        self._leases = asyncio.create_task(look_after(lab, night, events, seen=self._seen))

    def _seen(self, manifest: Manifest, job: Job, state: JobState) -> None:
        self._charge(job, state, manifest.gpus, "servers")

    def _charge(self, job: Job, state: JobState, gpus: int, who: str) -> None:
        """Count the GPU time of a job; the night stops where its limit is reached."""
        try:
            self._gpu_time.charge(job, gpus, state, who)
        except BudgetExceeded as error:
            if error.limit == "gpu_seconds" and not self.stop.is_set():
                self.why_stopped = str(error)
                self.stop.set()

    def ensure(self, handle: str) -> None:
        """Start the work of a handle unless it runs or is done. Raises NightlabError for one that names nothing."""
        if handle in self._tasks:
            return
        kind, *names = handle.split(":")
        kinds: dict[str, tuple[int, Work]] = {
            "server": (1, self._server),
            "sweep": (2, self._sweep),
            "judges": (1, self._judges),
            "train": (1, self._train),
        }
        if kind not in kinds or len(names) != kinds[kind][0]:
            raise NightlabError(
                f"no such work: {handle!r}", hint="handles come from start_server, run_sweep, run_judges, train_adapter"
            )
        self._tasks[handle] = asyncio.create_task(kinds[kind][1](*names), name=handle)

    def forget(self, handle: str) -> None:
        """Let the work of a handle that ended be started anew."""
        task = self._tasks.get(handle)
        if task is not None and task.done():
            del self._tasks[handle]

    async def wait(self, handles: Sequence[str], timeout: float) -> list[dict[str, Any]]:
        """Wait until one of the handles ends, the night must stop, or `timeout` seconds passed; the state of each."""
        for handle in handles:
            self.ensure(handle)
        woken = [asyncio.create_task(event.wait()) for event in (self.stop, self.stir)]
        try:
            tasks = [self._tasks[handle] for handle in handles]
            await asyncio.wait([*tasks, *woken], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in woken:
                task.cancel()
            self.stir.clear()
        return [self.state(handle) for handle in handles]

    def state(self, handle: str) -> dict[str, Any]:
        """Where the work of a handle stands: running, done with its result, or failed with its error."""
        task = self._tasks[handle]
        if not task.done():
            return {"handle": handle, "state": "running"}
        if task.cancelled():
            return {"handle": handle, "state": "failed", "error": {"class": "cancelled", "what": "it was cancelled"}}
        error = task.exception()
        if error is None:
            return {"handle": handle, "state": "done", "result": task.result()}
        if not isinstance(error, NightlabError):
            raise error
        return {"handle": handle, "state": "failed", "error": described(error)}

    async def adopt(self) -> None:
        """Verify the servers that live on from before, unless the night is to stop meanwhile."""
        adopting = asyncio.create_task(proof.adopt_all(self.lab, self.events))
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait([adopting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if adopting.done():
            await adopting
        adopting.cancel()
        await asyncio.gather(adopting, stopping, return_exceptions=True)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended; rows already answered stay."""
        tasks = [self._leases, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await routes.all_closed()

    async def _server(self, server_id: str) -> dict[str, Any]:
        server = Server.attach(self.lab, self.place, server_id)
        manifest = await proof.prove(server, self.events)
        return {"server": server_id, "model": manifest.model, "served": sorted(manifest.conditions)}

    async def _sweep(self, experiment: str, model: str) -> dict[str, Any]:
        folder = self.lab.experiment(experiment)
        if kind_of(folder) == "run":
            return await self._runs(RunPlan.load(folder))
        plan = Plan.load(folder)
        proven = await asyncio.to_thread(serving.endpoint, self.lab, plan, plan.model(model))
        server = await serving.reached(self.lab, plan, proven, self.night, self.events)
        config = self.lab.config
        async with in_use(self.lab, server.server):
            with self._store(plan) as samples:
                result = await run_sweep(
                    plan,
                    called_cells(plan).of_model(model),
                    {model: server},
                    events=self.events,
                    budget=self.budget,
                    concurrency=config.concurrency,
                    timeout=config.request_timeout,
                    samples=samples,
                    heal=functools.partial(mending.mend, self.lab, self.events),
                    reload=functools.partial(proof.reload, self.lab, self.events),
                    gone=functools.partial(mending.gone, self.lab),
                )
            await proof.swept(self.lab, self.events, plan, server.server)
        if error := result.error():
            raise error
        return {"planned": result.planned, "answered": result.answered, "missing": result.missing}

    async def _runs(self, plan: RunPlan) -> dict[str, Any]:
        result = await run_all(
            self.lab, plan, self.place, events=self.events, budget=self.budget, night=self.night,
            seen=lambda job, state, gpus: self._charge(job, state, gpus, "runs"),
        )  # fmt: skip
        if error := result.error():
            raise error
        return {"planned": result.planned, "answered": result.made, "failed": result.failed, "missing": result.missing}

    async def _judges(self, experiment: str) -> dict[str, Any]:
        plan = Plan.load(self.lab.experiment(experiment))
        result = await judge_experiment(self.lab, plan, self.night, self.events, self.budget)
        looked = await asyncio.to_thread(look_at, self.lab, experiment, self.events)
        return result | ({"look": looked.document()} if looked else {})

    async def _train(self, name: str) -> dict[str, Any]:
        from nightlab.training.jobs import follow

        gpus = self.place.gpus({}, 1)  # it computes on one device
        seen = functools.partial(self._charge, gpus=gpus, who="trainings")
        return await follow(self.lab, self.place, name, self.events, {}, night=self.night, seen=seen)

    @contextlib.contextmanager
    def _store(self, plan: Plan) -> Iterator[Samples]:
        """The one store of an experiment's samples in this process: shares of a sweep write to it side by side."""
        if plan.name not in self._stores:
            held = contextlib.ExitStack()
            held.enter_context(sole_writer(plan.folder))
            self._stores[plan.name] = _Store(held.enter_context(contextlib.closing(Samples(plan.folder))), held)
        store = self._stores[plan.name]
        store.users += 1
        try:
            yield store.samples
        finally:
            store.users -= 1
            if store.users == 0:
                del self._stores[plan.name]
                store.held.close()


def _began(events: EventLog) -> float:
    """When the night began, in seconds since the epoch."""
    row = events.last("night_started")
    return time.time() if row is None else datetime.fromisoformat(str(row["t"])).timestamp()


def described(error: NightlabError) -> dict[str, Any]:
    """An error as tool results carry it."""
    failure = error.failure if isinstance(error, ServerError | SweepStopped) else type(error).__name__
    return {"class": failure, "what": error.what, "where": error.where, "next": error.hint}

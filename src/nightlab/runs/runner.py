"""The runner of `kind: run`: every missing run of a frozen plan becomes a job of a place, a few at a time.

A run that gave its metrics is a line of samples.jsonl, any other attempt a line of failures.jsonl. A run is named by
its key, a job by the key and the attempt: after a crash the jobs that still live are found again, results that were
written but not yet noted are noted, and only what is missing is started. The same failure K times in a row stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nightlab.budget import Budget
from nightlab.compute.place import OVER, Job, JobState, Place, answered, tells
from nightlab.errors import BudgetExceeded, NightlabError
from nightlab.events import EventLog
from nightlab.experiments.lock import read_lock
from nightlab.experiments.samples import Samples, sole_writer
from nightlab.files import now
from nightlab.lab import Lab
from nightlab.runs.freeze import frozen_inputs, verify_run
from nightlab.runs.one import LOG
from nightlab.runs.plan import RunCell, RunPlan
from nightlab.runs.result import Result
from nightlab.runs.search import Decision, search_state
from nightlab.runs.standing import RunsResult, missing_runs
from nightlab.runs.starting import Starter, attempt_of, check_gpus
from nightlab.together import together

POLL = 0.1
QUEUE_POLL = 1.0  # of a queue, where very many may wait
STARTING = 60.0  # seconds beyond its limit that a job may take to start and to end
LEASE_SHARE = 4
Started = TypeVar("Started")
Seen = Callable[[Job, JobState, int], None]
LOSSES = 2  # jobs of one run that may be lost (a machine went away) before it counts as failed


async def run_all(
    lab: Lab,
    plan: RunPlan,
    place: Place,
    *,
    events: EventLog | None = None,
    budget: Budget | None = None,
    night: str = "",
    seen: Seen = lambda job, state, gpus: None,
) -> RunsResult:
    """Make every run that is missing. Cancelling it ends the jobs.

    Raises FrozenError, UsageError (no GPU for those that need one), LockHeld, StorageError. `night` is written down as
    the owner of the jobs; `seen` hears how each stands, and how many GPUs it holds.
    """
    await asyncio.to_thread(verify_run, plan)
    check_gpus(lab, plan, place)
    with sole_writer(plan.folder), contextlib.closing(Samples(plan.folder)) as samples:
        runner = _Runner(lab, plan, Starter(lab, plan, place, night), samples, events, budget, seen)
        return await runner.run()


class _Runner:
    def __init__(
        self,
        lab: Lab,
        plan: RunPlan,
        starter: Starter,
        samples: Samples,
        events: EventLog | None,
        budget: Budget | None,
        seen: Seen,
    ) -> None:
        self._lab, self._plan, self._starter, self._samples = lab, plan, starter, samples
        self._events, self._budget, self._seen = events, budget, seen
        self._made = 0
        self._failed: set[str] = set()
        self._streak: tuple[str, int] = ("", 0)
        self._stopped = self._failure = ""
        self._ending = False
        self._fresh: list[tuple[RunCell, int]] = []
        self._lost: Counter[str] = Counter()
        self._attempts = Counter(str(row["key"]) for row in samples.failures())

    async def run(self) -> RunsResult:
        start = time.monotonic()
        todo = missing_runs(self._plan, self._samples)
        planned = len(self._plan.grid(self._inputs()))
        self._emit("sweep_started", planned=planned, missing=len(todo), models=[])
        try:
            while todo and not self._stopped:
                await self._batch(todo)
                todo = missing_runs(self._plan, self._samples, frozenset(self._failed))
        finally:
            self._samples.close()
        left = len(missing_runs(self._plan, self._samples))
        decisions = self._decisions()
        result = RunsResult(
            planned,
            self._made,
            len(self._failed),
            left,
            time.monotonic() - start,
            self._stopped,
            self._failure,
            decisions,
        )
        self._finish(result)
        return result

    async def _batch(self, todo: Sequence[RunCell]) -> None:
        """Make these runs, a few at a time; the jobs are ended where this is cancelled.

        A place with a queue gets all of them in one call, and runs a few side by side by itself. Those that still run
        come first: they are followed, and keep their cards.
        """
        jobs: set[asyncio.Task[Job]] = set()
        living: dict[str, Job] = {}
        array = None
        try:
            living = await asyncio.to_thread(self._starter.take_up, [(cell, self._next(cell)) for cell in todo])
            if self._over():
                return
            waiting = iter(sorted(todo, key=lambda cell: cell.key not in living))
            array = self._array(todo) if self._starter.queues else None
            count = self._plan.config.max_parallel if array is None else len(todo)
            await together(self._work(waiting, jobs, array) for _ in range(min(count, len(todo))))
        finally:
            await self._end(jobs, array, living.values())

    async def _work(
        self, waiting: Iterator[RunCell], jobs: set[asyncio.Task[Job]], array: asyncio.Task[dict[str, Job]] | None
    ) -> None:
        """Make one waiting run after the other."""
        for cell in waiting:
            if self._over():
                return
            await self._one(cell, jobs, array)

    def _array(self, todo: Sequence[RunCell]) -> asyncio.Task[dict[str, Job]]:
        """All runs without a result yet, handed in at once."""
        self._fresh = [(cell, self._next(cell)) for cell in todo if self._result(cell) is None]
        return asyncio.create_task(self._patiently(functools.partial(self._starter.start_all, self._fresh)))

    async def _patiently(self, start: Callable[[], Started]) -> Started:
        """Start jobs, as soon as their place answers; not any more where everything is to end."""

        async def ask() -> Started:
            if self._ending:
                raise NightlabError("the runs end before their place answered", where=self._plan.folder)
            return await asyncio.to_thread(start)

        who = f"the runs of {self._plan.name}"
        return await answered(ask, tells(self._events, self._starter.place, who))

    async def _end(
        self, jobs: set[asyncio.Task[Job]], array: asyncio.Task[dict[str, Job]] | None, living: Iterable[Job]
    ) -> None:
        """End what still runs or waits; a start under way is waited for, since nobody would know its job."""
        self._ending = True
        started = await asyncio.gather(*jobs, return_exceptions=True)
        left = [*living, *(job for job in started if not isinstance(job, BaseException))]
        if array is not None:
            [untaken] = await asyncio.gather(array, return_exceptions=True)
            left += untaken.values() if isinstance(untaken, dict) else self._starter.written(self._fresh)
        self._ending = False
        await asyncio.to_thread(self._starter.stop_all, list({job.folder: job for job in left}.values()))

    async def _start(self, cell: RunCell, attempt: int, array: asyncio.Task[dict[str, Job]] | None) -> Job:
        if array is not None:
            return (await asyncio.shield(array)).pop(cell.key)  # what nobody takes is left to be ended
        return await self._patiently(functools.partial(self._starter.start, cell, attempt))

    def _next(self, cell: RunCell) -> int:
        return self._attempts[cell.key] + 1

    def _result(self, cell: RunCell) -> Result | None:
        """What the next attempt of a run gave, where it ended while nobody looked."""
        folder = self._plan.out(cell)
        return Result.read(folder) if attempt_of(folder) == self._next(cell) else None

    async def _one(
        self, cell: RunCell, jobs: set[asyncio.Task[Job]], array: asyncio.Task[dict[str, Job]] | None
    ) -> None:
        attempt = self._next(cell)
        folder = self._plan.out(cell)
        found = self._result(cell)
        if found is None:
            starting = asyncio.create_task(self._start(cell, attempt, array))
            jobs.add(starting)  # a start that is cancelled half-way would leave a job that nobody knows
            found = await self._wait(await asyncio.shield(starting), folder)
            if found is None:
                return
            jobs.discard(starting)
        elif (job := self._starter.found(cell, attempt)) is not None:  # it ended while nobody looked
            self._seen(job, await asyncio.to_thread(job.state), self._starter.gpus)
        self._starter.over(cell)
        self._note(cell, found, attempt, folder)

    async def _wait(self, job: Job, folder: Path) -> Result | None:
        """Wait for a job's end, and renew its lease meanwhile; None where everything stops before.

        Its time does not run while it waits for its turn, nor while nobody can say whether it runs.
        """
        limit = self._plan.config.timeout_seconds + STARTING
        deadline = time.monotonic() + limit
        renewed = time.monotonic()
        while (state := await asyncio.to_thread(job.state)) not in OVER:
            self._seen(job, state, self._starter.gpus)
            if self._over():
                return None
            if state != "running":
                deadline = time.monotonic() + limit
            if time.monotonic() > deadline:
                await asyncio.to_thread(job.stop)
                break
            if time.monotonic() - renewed > self._lab.config.lease_seconds / LEASE_SHARE:
                await asyncio.to_thread(job.renew)
                renewed = time.monotonic()
            await asyncio.sleep(QUEUE_POLL if self._starter.queues else POLL)
        self._seen(job, state, self._starter.gpus)
        found = Result.read(folder)
        if found is not None:
            return found
        return Result(
            "lost", job.exit_code(), f"the job ended without a result: {state}, {job.reason() or 'no reason'}"
        )

    def _over(self) -> bool:
        if not self._stopped and self._budget is not None:
            try:
                self._budget.check_clock()
            except BudgetExceeded as error:
                self._stopped, self._failure = error.what, "clock"
        return bool(self._stopped)

    def _note(self, cell: RunCell, found: Result, attempt: int, folder: Path) -> None:
        """Add the line of an attempt."""
        self._attempts[cell.key] = attempt
        log = str((folder / LOG).relative_to(self._plan.folder))
        told: dict[str, Any] = {"params": dict(cell.params), "replicate": cell.replicate, "seed": cell.seed}
        told |= {"log": log, "seconds": round(found.seconds, 3), "peak_mb": found.peak_mb, "attempt": attempt}
        told |= {"place": self._starter.place, "level": found.level, "t": now()}
        if found.status == "ok":
            self._samples.append(
                {"key": cell.key, **told, "metrics": dict(found.metrics), "artefacts": dict(found.artefacts)}
            )
            self._made += 1
            self._streak = ("", 0)
        else:
            self._samples.failed.append({"key": cell.key, "class": found.status, "error": found.why, **told})
            self._lost[cell.key] += found.status == "lost"
            if found.status != "lost" or self._lost[cell.key] > LOSSES:  # else it is tried again
                self._gives_none(cell, found)
        self._emit("sweep_progress", models=[], answered=self._made, failed=len(self._failed), run=cell.label)

    def _gives_none(self, cell: RunCell, found: Result) -> None:
        """Give a run up; all of them, where so many in a row fail in the same way."""
        self._failed.add(cell.key)
        kind = f"{found.status}: {re.sub('[0-9a-f]{8,}|[0-9.]+', '#', found.why)}"
        self._streak = (kind, self._streak[1] + 1) if self._streak[0] == kind else (kind, 1)
        if self._streak[1] >= self._plan.config.stop.max_identical_failures and not self._stopped:
            self._stopped = f"{found.status}, {self._streak[1]} times in a row: {found.why}"
            self._failure = found.status

    def _inputs(self) -> Mapping[str, str] | None:
        lock = read_lock(self._plan.folder)
        return frozen_inputs(lock) if lock else None

    def _decisions(self) -> tuple[Decision, ...]:
        if self._plan.config.search is None:
            return ()
        rows = {row["key"]: row for row in self._samples.rows()}
        return search_state(self._plan, rows, frozenset(self._failed)).decisions

    def _finish(self, result: RunsResult) -> None:
        if result.failed or result.stopped:
            what = f"{result.failed} runs of {self._plan.name} gave no metrics"
            self._emit("degradation", what=what, why=result.stopped or "see failures.jsonl", where="runs")
        counts = {name: getattr(result, name) for name in ("planned", "failed", "missing")}
        self._emit(
            "sweep_finished", models=[], asked=result.made + result.failed, answered=result.made, **counts,
            seconds=round(result.seconds, 3), stopped=[result.stopped] if result.stopped else [],
        )  # fmt: skip

    def _emit(self, kind: str, **fields: object) -> None:
        if self._events is not None:
            self._events.emit(kind, experiment=self._plan.name, **fields)

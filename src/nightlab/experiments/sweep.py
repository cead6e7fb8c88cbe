"""The sweep: every missing cell of a frozen plan is asked until it is answered, on several servers at once.

Per server a bounded number of requests is in flight. Failures that may pass (RETRIED) are tried again after a
jittered, growing pause; each failed attempt is a line. The same failure on K cells in a row ends that server's share,
and the others go on. Only answers that keep the contract become samples, so a resumed sweep asks exactly what is still
missing. The past deadline of a budget ends a sweep the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nightlab.budget import Budget
from nightlab.errors import SweepStopped, UsageError, nearest
from nightlab.events import EventLog
from nightlab.experiments.cells import Cell
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples, Writer, sole_writer
from nightlab.experiments.share import Endpoint, Share, Stopped

__all__ = ["Endpoint", "Progress", "ShareResult", "Stopped", "SweepResult", "run_sweep"]

PROGRESS_SECONDS = 0.25
EVENT_SECONDS = 2.0
EVENTS_SLOW_DOWN = 50


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands: cells of the plan, samples there are (this run's included), cells given up in this run."""

    planned: int
    answered: int
    failed: int


@dataclass(frozen=True)
class ShareResult:
    """What became of one model's missing cells in one run."""

    asked: int
    answered: int
    failed: int
    missing: int
    stopped: Stopped | None


@dataclass(frozen=True)
class SweepResult:
    """What became of a sweep: cells asked, answered and given up in this run, and cells of the plan that still miss."""

    planned: int
    asked: int
    answered: int
    failed: int
    missing: int
    by_model: Mapping[str, ShareResult]
    seconds: float

    @property
    def stopped(self) -> list[Stopped]:
        """The shares that were given up."""
        return [share.stopped for share in self.by_model.values() if share.stopped]

    def error(self) -> SweepStopped | None:
        """The first share that was given up, as an error to raise or to show."""
        for stop in self.stopped:
            what = f"the sweep of {stop.model} stopped: {stop.why}"
            return SweepStopped(
                what, failure=stop.failure, sample=stop.error, hint="diagnose its server, then sweep again"
            )
        return None


async def run_sweep(
    plan: Plan,
    cells: Sequence[Cell],
    servers: Mapping[str, Endpoint],
    *,
    events: EventLog | None = None,
    budget: Budget | None = None,
    concurrency: int = 16,
    max_identical_failures: int | None = None,
    timeout: float = 120.0,
    on_progress: Callable[[Progress], None] | None = None,
    samples: Samples | None = None,
) -> SweepResult:
    """Ask every cell that has no sample yet; `servers` by model name, a model without one keeps its cells missing.

    Give `samples` where several sweeps of one experiment run side by side in this process: the caller opened the store,
    holds the folder (`sole_writer`) and closes it.

    Raises FrozenError for a plan that is not frozen or changed since, UsageError for a condition its server lacks,
    LockHeld while another process sweeps here, StorageError. Cancelling it keeps what was answered.
    """
    await asyncio.to_thread(verify, plan)  # it may hash gigabytes of weights
    start = time.monotonic()
    with _store(plan.folder, samples) as samples:
        missing = samples.missing(cells)
        _check_served(missing, servers)
        watch = _Watch(plan.name, len(cells), len(cells) - len(missing), events, on_progress)
        limit = max_identical_failures or plan.stop.max_identical_failures
        async with Writer(samples.answers) as answers, Writer(samples.failed) as failures:
            shares = [
                Share(model, endpoint, mine, answers, failures, limit, budget, watch.tick)
                for model, endpoint in servers.items()
                if (mine := [cell for cell in missing if cell.model == model])
            ]
            watch.started(len(missing), shares)
            await _together([share.run(concurrency, timeout) for share in shares])
    result = _result(cells, missing, shares, time.monotonic() - start)
    watch.finished(result)
    return result


@contextlib.contextmanager
def _store(folder: Path, given: Samples | None) -> Iterator[Samples]:
    """The store that the caller keeps open, or one of our own, closed at the end."""
    if given is not None:
        yield given
        return
    with sole_writer(folder), contextlib.closing(Samples(folder)) as own:
        yield own


async def _together(work: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all at once; the first error cancels the rest, and is raised when they have ended."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_served(missing: Iterable[Cell], servers: Mapping[str, Endpoint]) -> None:
    for cell in missing:
        endpoint = servers.get(cell.model)
        if endpoint and cell.condition not in endpoint.conditions:
            close = nearest(cell.condition, endpoint.conditions)
            raise UsageError(
                f"the server {endpoint.server} of {cell.model} does not serve the condition {cell.condition!r}",
                hint=f"it serves {close!r}" if close else "start it again with the adapters of this plan",
            )


def _result(cells: Sequence[Cell], missing: Sequence[Cell], shares: Sequence[Share], seconds: float) -> SweepResult:
    lacking = Counter(cell.model for cell in missing)
    by_model = {}
    for model in dict.fromkeys(cell.model for cell in cells):
        share = next((s for s in shares if s.model == model), None)
        if share is None:
            by_model[model] = ShareResult(0, 0, 0, lacking[model], None)
        else:
            left = lacking[model] - share.answered
            by_model[model] = ShareResult(share.asked, share.answered, share.failed, left, share.stopped)
    parts = by_model.values()
    return SweepResult(
        planned=len(cells),
        asked=sum(part.asked for part in parts),
        answered=sum(part.answered for part in parts),
        failed=sum(part.failed for part in parts),
        missing=sum(part.missing for part in parts),
        by_model=by_model,
        seconds=seconds,
    )


class _Watch:
    """Tells the event log and the caller how a sweep goes on, not more often than they can use."""

    def __init__(
        self,
        experiment: str,
        planned: int,
        answered: int,
        events: EventLog | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._experiment, self._planned, self._before = experiment, planned, answered
        self._events, self._on_progress = events, on_progress
        self._shares: list[Share] = []
        self._start = time.monotonic()
        self._told = self._logged = 0.0

    def started(self, missing: int, shares: list[Share]) -> None:
        self._shares = shares
        self._logged = time.monotonic()
        self._emit("sweep_started", planned=self._planned, missing=missing, models=self._models())

    def tick(self) -> None:
        """Called after every cell."""
        moment = time.monotonic()
        if moment - self._told >= PROGRESS_SECONDS:
            self._told = moment
            self._tell()
        if moment - self._logged >= max(EVENT_SECONDS, (moment - self._start) / EVENTS_SLOW_DOWN):
            self._logged = moment
            self._emit("sweep_progress", models=self._models(), **asdict(self._progress()))

    def finished(self, result: SweepResult) -> None:
        self._tell()
        for model, share in result.by_model.items():
            if share.stopped or share.failed:
                why = share.stopped.why if share.stopped else "every allowed attempt failed"
                self._emit(
                    "degradation", what=f"{share.missing} cells of {model} have no answer", why=why, where="sweep"
                )
        counts = {name: getattr(result, name) for name in ("planned", "asked", "answered", "failed", "missing")}
        stopped = [asdict(stop) for stop in result.stopped]
        self._emit("sweep_finished", models=self._models(), **counts, seconds=round(result.seconds, 3), stopped=stopped)

    def _models(self) -> list[str]:
        return [share.model for share in self._shares]

    def _progress(self) -> Progress:
        answered = self._before + sum(share.answered for share in self._shares)
        return Progress(self._planned, answered, sum(share.failed for share in self._shares))

    def _tell(self) -> None:
        if self._on_progress:
            self._on_progress(self._progress())

    def _emit(self, kind: str, **fields: object) -> None:
        if self._events:
            self._events.emit(kind, experiment=self._experiment, **fields)

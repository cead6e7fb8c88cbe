"""The sweep: every missing cell of a frozen plan is asked until it is answered, on several servers at once.

Several servers of one model share its cells. Per server a bounded number of requests is in flight, fewer where the
server says that it has enough (pace.py). Failures that may pass are tried again after a jittered, growing pause; each
failed attempt is a line. The same failure on K cells in a row ends that server's share (share.py), and the others go
on. Only answers that keep the contract become samples, so a resumed sweep asks exactly what is still missing. The past
deadline of a budget ends a sweep the same way. Memory does not grow with the number of cells, but for 4 bytes each.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nightlab.budget import Budget
from nightlab.errors import SweepStopped, UsageError, nearest
from nightlab.events import EventLog
from nightlab.experiments.cells import Cell, Chosen, tally
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.experiments.pool import Pool
from nightlab.experiments.samples import Samples, Writer, sole_writer
from nightlab.experiments.share import Endpoint, Gone, Heal, Reload, Share, Stopped, Terms
from nightlab.together import together

__all__ = ["Endpoint", "Progress", "ShareResult", "Stopped", "SweepResult", "run_sweep"]

PROGRESS_SECONDS = 0.25
EVENT_SECONDS = 2.0
EVENTS_SLOW_DOWN = 50
PATIENCE = 30.0


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
    stopped: tuple[Stopped, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed attempts by class, those that were answered in the end included."""


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
        return [stop for share in self.by_model.values() for stop in share.stopped]

    def error(self) -> SweepStopped | None:
        """The first share that was given up and left cells missing, as an error to raise or to show."""
        for stop in (stop for share in self.by_model.values() if share.missing for stop in share.stopped):
            what = f"the sweep of {stop.model} stopped: {stop.why}"
            return SweepStopped(
                what, failure=stop.failure, sample=stop.error, hint="diagnose its server, then sweep again"
            )
        return None


Servers = Mapping[str, Endpoint | Sequence[Endpoint]]
"""The servers of each model, by its name."""


async def run_sweep(
    plan: Plan,
    cells: Sequence[Cell],
    servers: Servers,
    *,
    events: EventLog | None = None,
    budget: Budget | None = None,
    concurrency: int = 16,
    max_identical_failures: int | None = None,
    timeout: float = 120.0,
    patience: float = PATIENCE,
    on_progress: Callable[[Progress], None] | None = None,
    samples: Samples | None = None,
    heal: Heal | None = None,
    reload: Reload | None = None,
    gone: Gone | None = None,
) -> SweepResult:
    """Ask every cell that has no sample yet; a model without a server keeps its cells missing.

    `concurrency` bounds the requests in flight at each server, `timeout` is what one request may take in all, and a
    server may take no connection for `patience` seconds (it restarts). `heal` mends a server whose share stopped,
    `reload` loads an adapter that it no longer knows, `gone` says why one need not be waited for. Give `samples` where
    several sweeps of one experiment run side by side in this process: the caller opened the store, holds the folder
    (`sole_writer`) and closes it.

    Raises FrozenError for a plan that is not frozen or changed since, UsageError for a condition its server lacks,
    LockHeld while another process sweeps here, StorageError. Cancelling it keeps what was answered.
    """
    await asyncio.to_thread(verify, plan)  # it may hash gigabytes of weights
    start = time.monotonic()
    limit = max_identical_failures or plan.stop.max_identical_failures
    terms = Terms(concurrency, timeout, patience, limit, budget, heal, reload, gone)
    with _store(plan.folder, samples) as samples:
        missing = samples.missing(cells)
        places = tally(missing)
        _check_served(places, servers)
        watch = _Watch(plan.name, list(servers), len(cells), len(cells) - len(missing), events, on_progress)
        async with Writer(samples.answers) as answers, Writer(samples.failed) as failures:
            shares = _shares(missing, places, servers, answers, failures, terms)
            watch.started(len(missing), shares)
            await together(share.run() for share in shares)
    result = _result(tally(cells), places, shares, time.monotonic() - start)
    watch.finished(result)
    return result


def _shares(
    missing: Chosen,
    places: Mapping[tuple[str, str], int],
    servers: Servers,
    answers: Writer,
    failures: Writer,
    terms: Terms,
) -> list[Share]:
    """One share per server of a model that lacks cells; the servers of one model have one pool."""
    shares: list[Share] = []
    lacking = {model for model, _ in places}
    for model in servers:
        if model in lacking:
            pool, ends = Pool(missing.of_model(model)), _listed(servers[model])
            mine = [Share(model, endpoint, pool, answers, failures, terms) for endpoint in ends]
            for share in mine:
                share.alone = len(ends) == 1
            shares += mine
    return shares


def _listed(given: Endpoint | Sequence[Endpoint]) -> Sequence[Endpoint]:
    return [given] if isinstance(given, Endpoint) else given


@contextlib.contextmanager
def _store(folder: Path, given: Samples | None) -> Iterator[Samples]:
    """The store that the caller keeps open, or one of our own, closed at the end."""
    if given is not None:
        yield given
        return
    with sole_writer(folder), contextlib.closing(Samples(folder)) as own:
        yield own


def _check_served(places: Iterable[tuple[str, str]], servers: Servers) -> None:
    for model, condition in places:
        for endpoint in _listed(servers.get(model, ())):
            if condition not in endpoint.conditions:
                close = nearest(condition, endpoint.conditions)
                raise UsageError(
                    f"the server {endpoint.server} of {model} does not serve the condition {condition!r}",
                    hint=f"it serves {close!r}" if close else "start it again with the adapters of this plan",
                )


def _result(
    planned: Mapping[tuple[str, str], int],
    lacking: Mapping[tuple[str, str], int],
    shares: Sequence[Share],
    seconds: float,
) -> SweepResult:
    by_model = {}
    for model in dict.fromkeys(model for model, _ in planned):
        mine = [share for share in shares if share.model == model]
        answered = sum(share.answered for share in mine)
        by_model[model] = ShareResult(
            asked=sum(share.asked for share in mine),
            answered=answered,
            failed=sum(share.failed for share in mine),
            missing=sum(count for (name, _), count in lacking.items() if name == model) - answered,
            stopped=tuple(share.stopped for share in mine if share.stopped),
            failures=dict(sum((share.failures for share in mine), Counter())),
        )
    parts = by_model.values()
    return SweepResult(
        planned=sum(planned.values()),
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
        models: list[str],
        planned: int,
        answered: int,
        events: EventLog | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._experiment, self._planned, self._before = experiment, planned, answered
        self._events, self._on_progress = events, on_progress
        self._shares: list[Share] = []
        self._served = models
        self._start = time.monotonic()
        self._told = self._logged = 0.0

    def started(self, missing: int, shares: list[Share]) -> None:
        self._shares = shares
        for share in shares:
            share.tick = self.tick
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
                why = share.stopped[0].why if share.stopped else "every allowed attempt failed"
                lost = f"{share.missing} cells of {model} have no answer"
                what = lost if share.missing else f"a server of {model} was given up; others answered its cells"
                self._emit("degradation", what=what, why=why, where="sweep")
        failures = dict(sum((Counter(share.failures) for share in result.by_model.values()), Counter()))
        counts = {name: getattr(result, name) for name in ("planned", "asked", "answered", "failed", "missing")}
        stopped = [asdict(stop) for stop in result.stopped]
        self._emit(
            "sweep_finished",
            models=self._models(),
            **counts,
            seconds=round(result.seconds, 3),
            stopped=stopped,
            failures=failures,
        )

    def _models(self) -> list[str]:
        """Whose cells are asked; where none is missing any more, whose would have been."""
        return list(dict.fromkeys(share.model for share in self._shares)) or self._served

    def _progress(self) -> Progress:
        answered = self._before + sum(share.answered for share in self._shares)
        return Progress(self._planned, answered, sum(share.failed for share in self._shares))

    def _tell(self) -> None:
        if self._on_progress:
            self._on_progress(self._progress())

    def _emit(self, kind: str, **fields: object) -> None:
        if self._events:
            self._events.emit(kind, experiment=self._experiment, **fields)

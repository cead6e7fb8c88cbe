"""One server's share of a sweep: cells from its model's pool, each asked until answered or given up.

Every attempt ends in one class: answered, or a failure class of servers/answers.py: those in RETRIED are tried again
after a jittered pause, the others are terminal. What a server did to K cells in a row ends its share: the hook `heal`
may mend it, and the cells go on there; else they go back to the pool, for other servers of the model.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nightlab.budget import Budget
from nightlab.compute.route import Route
from nightlab.errors import BudgetExceeded
from nightlab.experiments.asking import Forms, failure_row
from nightlab.experiments.cells import Cell
from nightlab.experiments.pace import Gate, Pace
from nightlab.experiments.pool import Pool
from nightlab.experiments.samples import Writer
from nightlab.experiments.workers import Workers
from nightlab.servers.chat import Chat, ChatError

RETRIED = frozenset({"rate_limited", "server_error", "connection", "timeout", "contract_broken", "cancelled"})
OVERLOADED = frozenset({"rate_limited", "timeout"})
ATTEMPTS = 5
PAUSE = 0.25
LONGEST_PAUSE = 8.0
LONGEST_PROBE = 1.0
LONGEST_WAIT_ASKED_FOR = 60.0
HEALS = 2  # how often one share may be mended
REFUSALS = 20  # refused connections that do not count as attempts of a cell

Outcome = Literal["answered", "failed", "open"]


@dataclass(frozen=True)
class Endpoint:
    """A proven server: its URL, or the way to it, its id, and the served model name that gives each condition.

    `canary` is the proof that covers its answers.
    """

    url: str | Route
    server: str
    conditions: Mapping[str, str]
    canary: str | None = None


@dataclass(frozen=True)
class Stopped:
    """Why a share was given up: the failure's class, one of its texts, and how many cells in a row it met."""

    model: str
    server: str
    failure: str
    error: str
    times: int

    @property
    def why(self) -> str:
        """One sentence."""
        return f"{self.failure}, {self.times} times in a row: {self.error}" if self.times else self.error


Reload = Callable[[Endpoint, str], Awaitable[Endpoint | None]]
"""Loads a served name again that a server no longer knows: where to go on, or None where it is not there."""
Heal = Callable[[Stopped], Awaitable[Endpoint | None]]
"""Mends a server whose share stopped: where to go on, or None where it cannot be mended."""
Gone = Callable[[Endpoint], Awaitable[str | None]]
"""Why a server that takes no connection is known to be gone for good; None where it may come back."""


@dataclass(frozen=True)
class Terms:
    """How a sweep asks: requests in flight, seconds for each in all, seconds that a server may take no connection,
    identical failures that stop a share, the budget whose clock counts, who mends, and who knows of a server's end.
    """

    concurrency: int
    timeout: float
    patience: float
    max_identical_failures: int
    budget: Budget | None = None
    heal: Heal | None = None
    reload: Reload | None = None
    gone: Gone | None = None


class Share:
    """What one server answers, and what became of it so far."""

    def __init__(
        self, model: str, endpoint: Endpoint, pool: Pool, answers: Writer, failures: Writer, terms: Terms
    ) -> None:
        self.model, self.endpoint = model, endpoint
        self.asked = self.answered = self.failed = self.heals = 0
        self.failures: Counter[str] = Counter()
        """Failed attempts by class."""
        self.stopped: Stopped | None = None
        self.pace = Pace(terms.concurrency)
        self.tick: Callable[[], None] = lambda: None
        self.alone = True
        """Whether no other server can answer its cells."""
        self._pool, self._answers, self._failures, self._terms = pool, answers, failures, terms
        self._gate = Gate()
        self._forms = Forms({})
        self._streak = ""
        self._held: list[Cell] = []

    async def run(self) -> None:
        """Ask cells until none is left or the share is given up."""
        while True:
            self._forms = Forms(dict(self.endpoint.conditions))
            async with Chat(self.endpoint.url, limit=self._terms.concurrency) as chat:
                await Workers(self, chat, self.pace).run()
            if self.stopped is None or not await self._healed():
                break
        self._settle_held()

    async def next_cell(self) -> Cell | None:
        """The next cell to ask; None when there is none, or nothing more may be asked."""
        return None if self._over() else await self._pool.take()

    async def work_on(self, chat: Chat, cell: Cell) -> None:
        """Ask a cell that was taken, and say what became of it."""
        self.asked += 1
        try:
            outcome = await self._ask(chat, cell)
        except BaseException:
            self._pool.settle()
            raise
        if outcome == "answered":
            self._pool.settle()
        elif outcome == "open":
            self.asked -= 1
            self._pool.put_back(cell)
        self.tick()

    def _over(self) -> bool:
        """Whether nothing more may be asked: the share was given up, or the deadline is past."""
        if self.stopped is None and self._terms.budget is not None:
            try:
                self._terms.budget.check_clock()
            except BudgetExceeded as error:
                self._stop("clock", error.what, 0)
        return self.stopped is not None

    def _stop(self, failure: str, error: str, times: int) -> None:
        self.stopped = Stopped(self.model, self.endpoint.server, failure, error[:300], times)
        self._gate.open()

    def _bounded(self) -> float:
        """A request's own limit, or less where the deadline comes first."""
        left = self._terms.budget.seconds_left() if self._terms.budget else None
        return self._terms.timeout if left is None else min(self._terms.timeout, max(left, 0.1))

    async def _ask(self, chat: Chat, cell: Cell) -> Outcome:
        """Ask until answered or given up; it stays open where the share is given up meanwhile."""
        form = self._forms.of(cell)
        body = form.body(cell)
        attempt = 1
        refusals = 0
        reloaded = False
        while True:
            await self._gate.passed()
            if self._over():
                return "open"
            started = time.monotonic()
            try:
                answer = await chat.complete(form.request, timeout=self._bounded(), body=body)
                self._answers.put_line(form.line(cell, answer, self.endpoint.server, attempt, self.endpoint.canary))
            except ChatError as error:
                self._note(cell, error, attempt, started)
                if error.unreachable and refusals < REFUSALS and await self._probed(error):
                    refusals += 1
                    continue
                if error.failure_class == "not_found" and not reloaded and await self._reloaded(form.request.model):
                    reloaded = True
                    continue
                if error.failure_class not in RETRIED or attempt == ATTEMPTS or self._over():
                    return self._give_up(cell, error)
                await asyncio.sleep(pause(attempt, error.retry_after))
                attempt += 1
            else:
                self._reached()
                self.pace.answered(answer.latency)
                self.answered += 1
                self._settle_held()
                return "answered"

    def _note(self, cell: Cell, error: ChatError, attempt: int, started: float) -> None:
        self.failures[error.failure_class] += 1
        self._failures.put(failure_row(cell, error, self.endpoint.server, attempt))
        if not error.unreachable:
            self._reached()
        if error.failure_class in OVERLOADED or error.status == 503:
            self.pace.refused(started)

    async def _reloaded(self, served: str) -> bool:
        """Whether an adapter that the server no longer knows is there again."""
        endpoint = await self._terms.reload(self.endpoint, served) if self._terms.reload else None
        self.endpoint = endpoint or self.endpoint
        return endpoint is not None

    def _reached(self) -> None:
        if self._gate.closed_since is not None:
            self._gate.open()

    async def _probed(self, error: ChatError) -> bool:
        """After a refused connection: whether to try the same attempt again. The first to meet it probes for all."""
        if self._gate.close():
            probe = asyncio.create_task(self._probe(error.what))
            try:
                await probe
            finally:
                probe.cancel()
        return not self._over()

    async def _probe(self, what: str) -> None:
        """Wait until the server takes connections again, is known to be gone, or the patience with it is at an end."""
        attempt = 1
        try:
            while not self._over() and self._gate.closed_since is not None:
                end = await self._terms.gone(self.endpoint) if self._terms.gone else None
                if end is None and self._gate.closed_for() > self._terms.patience:
                    end = f"no connection for {self._terms.patience:g} s"
                if end is not None:
                    self._stop("connection", f"{end}: {what}", 0)
                    return
                await asyncio.sleep(min(pause(attempt), LONGEST_PROBE))
                attempt += 1
                async with Chat(self.endpoint.url, limit=1) as chat:
                    try:
                        await chat.models(timeout=self._bounded())
                    except ChatError as error:
                        if error.unreachable:
                            continue
                return
        finally:
            self._gate.open()

    def _give_up(self, cell: Cell, error: ChatError) -> Outcome:
        """Count a failed cell, and stop the share where it is one too many of its kind in a row."""
        if self.stopped is not None:
            return "open"
        kind = f"{error.failure_class}: {re.sub('[0-9a-f]{8,}|[0-9]+', '#', error.what)}"
        if kind != self._streak:
            self._settle_held()
        self._streak = kind
        self._held.append(cell)
        self._pool.hold()
        self.failed += 1
        if len(self._held) >= self._terms.max_identical_failures:
            self._stop(error.failure_class, error.what, len(self._held))
            if not self.alone:
                self._return_held()
        return "failed"

    def _settle_held(self) -> None:
        """The last failures stand."""
        self._pool.let_go(len(self._held))
        for _ in self._held:
            self._pool.settle()
        self._streak, self._held = "", []

    def _return_held(self) -> None:
        """The last failures were the server's fault: their cells are asked again."""
        self._pool.let_go(len(self._held))
        for cell in self._held:
            self._pool.put_back(cell)
        self.failed -= len(self._held)
        self.asked -= len(self._held)
        self._streak, self._held = "", []

    async def _healed(self) -> bool:
        """Whether the server was mended after the share stopped; then its cells are asked again."""
        stop, heal = self.stopped, self._terms.heal
        if stop is None or stop.failure == "clock" or heal is None or self.heals >= HEALS:
            return False
        endpoint = await heal(stop)
        if endpoint is None:
            return False
        self.heals += 1
        self.endpoint, self.stopped, self._gate = endpoint, None, Gate()
        self._return_held()
        return True


def pause(attempt: int, asked_for: float | None = None) -> float:
    """Seconds before the next attempt: random below a doubling cap, at least what the server asked for."""
    wait = random.uniform(0, min(LONGEST_PAUSE, PAUSE * 2**attempt))
    return max(wait, min(asked_for or 0.0, LONGEST_WAIT_ASKED_FOR))

"""A night from its launch to its last commit: it begins or goes on where it was cut off, and it always wraps up."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, cast

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from nightlab import __version__
from nightlab.agents import AgentSpec
from nightlab.brains import Brain
from nightlab.budget import Budget, Limits
from nightlab.compute import open_place
from nightlab.errors import BudgetExceeded, NightlabError
from nightlab.events import EventLog
from nightlab.lab import KINDS, Lab, look_up_all
from nightlab.night import graph
from nightlab.night.journal import Journal
from nightlab.night.launch import preflight
from nightlab.night.lock import LabLock
from nightlab.night.options import Ending, Options, Result, deadline
from nightlab.night.playbook import Playbook
from nightlab.night.session import NightSession
from nightlab.night.state import unclosed, unfinished
from nightlab.night.watch import Watch, last_text, watch_names
from nightlab.night.works import NightWorks
from nightlab.night.wrapup import close_night, open_questions, wrap_up
from nightlab.toolbox import Toolbox

AGENT = "orchestrator"

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class End:
    """How the work of a night ended, before its wrap-up."""

    state: Ending
    why: str


def run_night(lab: Lab, options: Options, *, brain: Brain | None = None, on_event: Listener | None = None) -> Result:
    """Run a night to its end, or resume the one that was cut off; blocks until the lab is wrapped up.

    Raises what preflight raises, before anything is written; a failure later is the night's result, not an exception.
    """
    preflight(lab, options)
    if (done := unclosed(lab)) and (result := _close(lab, done, options)):
        return result
    old = unfinished(lab)
    night = old or datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    lock = LabLock(lab.lock)
    lock.acquire(night)
    try:
        outcome = asyncio.run(_Night(lab, night, options, brain or Playbook(), on_event).run())
    finally:
        lock.release()
    if old and outcome.only_closed:
        return run_night(lab, options, brain=brain, on_event=on_event)
    return outcome.result


def _close(lab: Lab, night: str, options: Options) -> Result | None:
    """Make the last commit of a night that was cut off before it; None where there is nothing left to commit."""
    lock = LabLock(lab.lock)
    lock.acquire(night)
    try:
        closed = close_night(lab, night, options.brief)
    finally:
        lock.release()
    ended = EventLog(lab.night(night)).last("night_ended")
    if ended is None or closed is None:
        return None
    spent = Budget(lab.night(night) / "ledger.jsonl", Limits()).spent()
    return Result(night, ended["state"], ended["why"], open_questions(lab), 0.0, spent.usd)


@dataclass(frozen=True)
class _Outcome:
    result: Result
    only_closed: bool
    """The night was only closed, because its deadline was past when it was found again."""


class _Night:
    """One run of a night's process."""

    def __init__(self, lab: Lab, night: str, options: Options, brain: Brain, on_event: Listener | None) -> None:
        self.lab, self.night, self.options, self.brain = lab, night, options, brain
        self.folder = lab.night(night)
        self.events = EventLog(self.folder)
        if on_event:
            self.events.subscribe(on_event)
        self.started = time.monotonic()

    async def run(self) -> _Outcome:
        """Begin or go on, work, wrap up."""
        began = self.events.last("night_started")
        limits = self._limits(began)
        over = began is not None and limits.deadline is not None and limits.deadline <= time.time()
        self._announce(began, limits)
        budget = Budget(self.folder / "ledger.jsonl", limits, on_warning=self._warn)
        works = NightWorks(self.lab, open_place(self.lab), self.night, self.events, budget)
        try:
            with _signals(works.stop):
                end = await self._work(budget, works)
        finally:
            await works.close()
        state = await asyncio.to_thread(wrap_up, self.lab, self.night, self.events, end.state, end.why)
        close_night(self.lab, self.night, self.options.brief)
        self.events.close()
        budget.close()
        seconds = time.monotonic() - self.started
        return _Outcome(Result(self.night, state, end.why, open_questions(self.lab), seconds, budget.spent().usd), over)

    async def _work(self, budget: Budget, works: NightWorks) -> End:
        """Watch after watch, until one ends the night; every failure is an ending."""
        try:
            session = self._session(budget, works)
            return await self._watches(session)
        except BudgetExceeded as error:
            return End("stopped", str(error))
        except NightlabError as error:
            self.events.emit("error", what=str(error))
            return End("failed", str(error))
        except Exception as error:  # noqa: BLE001 - a defect must not cost the wrap-up; it is logged with its trace
            what = f"{type(error).__name__}: {error}"
            self.events.emit("error", what=what, trace=traceback.format_exc()[-8000:])
            return End("failed", what)

    async def _watches(self, session: NightSession) -> End:
        while True:
            outcome = await self._one_watch(session)
            if outcome["outcome"] != "hand_over":
                agent_ended = session.why is not None and outcome["reason"] == session.why
                return End("finished" if agent_ended else "stopped", outcome["reason"])
            session.handover = last_text(session.watch.messages)
            session.watch.close()
            session.watch = Watch(self.folder, _next_watch(session.watch.name))

    async def _one_watch(self, session: NightSession) -> graph.Where:
        session.open_watch()
        try:
            return await self._graph(session)
        except sqlite3.DatabaseError as error:
            return await self._without_checkpoint(session, error)

    async def _without_checkpoint(self, session: NightSession, error: Exception) -> graph.Where:
        """A checkpoint that cannot be read is put aside: the transcript says where the watch stands."""
        aside = self.lab.checkpoints.with_suffix(f".{self.night}.damaged")
        self.lab.checkpoints.replace(aside)
        for extra in ("-wal", "-shm"):
            self.lab.checkpoints.with_name(self.lab.checkpoints.name + extra).unlink(missing_ok=True)
        why = f"{error}; kept as {aside.name}"
        self.events.emit("degradation", what="the checkpoint was rebuilt from the transcript", why=why, where="night")
        return await self._graph(session)

    async def _graph(self, session: NightSession) -> graph.Where:
        self.lab.checkpoints.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncSqliteSaver.from_conn_string(str(self.lab.checkpoints)) as saver:
            app = graph.build(session, saver)
            config: Any = {"configurable": {"thread_id": f"{self.night}/{session.watch.name}"}}
            state = await app.aget_state(config)
            if state.values and not state.next:
                return cast(graph.Where, state.values)
            given = None if state.values else graph.Where(watch=session.watch.name)
            return cast(graph.Where, await app.ainvoke(given, config, durability="sync"))

    def _session(self, budget: Budget, works: NightWorks) -> NightSession:
        agent = AgentSpec.load(self.lab, AGENT)
        names = watch_names(self.folder)
        return NightSession(
            lab=self.lab,
            night=self.night,
            agent=agent,
            brain=self.brain,
            toolbox=Toolbox.load(self.lab, agent.tools),
            events=self.events,
            budget=budget,
            journal=Journal(self.folder),
            works=works,
            watch=Watch(self.folder, names[-1] if names else "watch_01"),
            turns=sum(row["kind"] == "turn" for row in self.events.read()),
        )

    def _limits(self, began: dict[str, Any] | None) -> Limits:
        """The limits of a new night; those that a resumed one began with, where no other ones are given now."""
        given, config = self.options, self.lab.config
        before = began["limits"] if began else {}
        hours = given.gpu_hours if given.gpu_hours is not None else config.gpu_hours
        fresh = began is None
        return Limits(
            usd=given.budget if given.budget is not None else before.get("usd", config.budget_usd),
            gpu_seconds=hours * 3600 if fresh or given.gpu_hours is not None else before["gpu_seconds"],
            deadline=deadline(given, self.lab) if fresh or given.until or given.hours else before["deadline"],
        )

    def _announce(self, began: dict[str, Any] | None, limits: Limits) -> None:
        if began is not None:
            self.events.emit("night_resumed", limits=asdict(limits))
            return
        files = {
            f"{kind}/{name}": [found.origin, found.sha256[:12]]
            for kind in KINDS[:3]
            for name, found in look_up_all(self.lab, kind, "**/*.*").items()
        }
        self.events.emit(
            "night_started",
            night=self.night,
            brain=self.brain.name,
            limits=asdict(limits),
            config=self.lab.config.snapshot(),
            versions={"nightlab": __version__, "python": platform.python_version()},
            files=files,
        )

    def _warn(self, limit: str, share: float) -> None:
        self.events.emit("budget_warning", limit=limit, share=share)


def _next_watch(name: str) -> str:
    return f"watch_{int(name.removeprefix('watch_')) + 1:02d}"


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C let the tools under way finish, and then wrap up; without a main thread there are none."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)

"""A night from its launch to its last commit: it begins or goes on where it was cut off, and it always wraps up."""

from __future__ import annotations

import asyncio
import platform
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

from nightlab import __version__
from nightlab.agents import AgentSpec
from nightlab.brains import Brain
from nightlab.budget import PARTS, Budget, Limits
from nightlab.compute import open_place
from nightlab.errors import BudgetExceeded, DiskFull, NightlabError
from nightlab.events import EventLog
from nightlab.lab import KINDS, Lab, look_up_all
from nightlab.night import graph, pulse
from nightlab.night.control import Control, size_of
from nightlab.night.delegation import BrainFor, NightStaff
from nightlab.night.journal import Journal
from nightlab.night.keeping import Saver, kept, thread
from nightlab.night.late import look_again
from nightlab.night.launch import preflight
from nightlab.night.lock import LabLock
from nightlab.night.minds import open_brain
from nightlab.night.options import Ending, Options, Result, deadline, new_night
from nightlab.night.session import NightSession, toolbox_of
from nightlab.night.state import limits_of, unclosed, unfinished
from nightlab.night.watch import Watch, last_text, led_watches, next_watch, open_newest
from nightlab.night.works import NightWorks
from nightlab.night.wrapup import close_night, close_unclosed, open_questions, wrap_up
from nightlab.record.repository import Repository

AGENT = "orchestrator"
CANCELLING = 10.0  # seconds that cancelled tools may take

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class End:
    """How the work of a night ended, before its wrap-up."""

    state: Ending
    why: str


def run_night(
    lab: Lab,
    options: Options,
    *,
    brain: Brain | None = None,
    brain_for: BrainFor | None = None,
    on_event: Listener | None = None,
) -> Result:
    """Run a night to its end, or resume the one that was cut off; blocks until the lab is wrapped up.

    `brain` leads the night; `brain_for` gives the brain of an agent that it delegates to (default: the same one).

    Raises what preflight raises, before anything is written; a failure later is the night's result, not an exception.
    """
    preflight(lab, options)
    if (done := unclosed(lab)) and (result := close_unclosed(lab, done, options.brief)):
        return result
    old = unfinished(lab)
    outcome = run_one(lab, old or new_night(lab), options, brain=brain, brain_for=brain_for, on_event=on_event)
    if old and outcome.only_closed:
        return run_night(lab, options, brain=brain, brain_for=brain_for, on_event=on_event)
    return outcome.result


@dataclass(frozen=True)
class Outcome:
    """How one run of a night's process ended."""

    result: Result
    only_closed: bool
    """The night was only closed: its deadline was past, or it had been asked to stop, when it was found again."""


def run_one(
    lab: Lab,
    night: str,
    options: Options,
    *,
    brain: Brain | None = None,
    brain_for: BrainFor | None = None,
    on_event: Listener | None = None,
    heard: int | None = None,
    worker: bool = False,
) -> Outcome:
    """Begin this night, or go on with it, in this process; preflight is the caller's. Raises LockHeld.

    Orders before byte `heard` of its control file are of an earlier launch (default: all that are there). `worker`:
    this process is a supervisor's child, which another supervisor may take over.
    """
    heard = size_of(lab.control(night)) if heard is None else heard
    with LabLock(lab.lock).hold(night, worker=worker):
        return asyncio.run(_Night(lab, night, options, brain, on_event, brain_for, heard).run())


class _Night:
    """One run of a night's process."""

    def __init__(
        self,
        lab: Lab,
        night: str,
        options: Options,
        brain: Brain | None,
        on_event: Listener | None,
        brain_for: BrainFor | None = None,
        heard: int = 0,
    ) -> None:
        self.heard = heard
        self.lab, self.night, self.options = lab, night, options
        self.given, self.given_for = brain, brain_for
        self.folder = lab.night(night)
        self.events = EventLog(self.folder)
        if on_event:
            self.events.subscribe(on_event)
        self.started = time.monotonic()

    async def run(self) -> Outcome:
        """Begin or go on, work, wrap up; the heart beats until it is done."""
        beating = asyncio.create_task(pulse.beat(self.lab))
        try:
            return await self._run()
        finally:
            beating.cancel()

    async def _run(self) -> Outcome:
        began = self.events.last("night_started")
        limits = self._limits(began)
        over = began is not None and limits.deadline is not None and limits.deadline <= time.time()
        shares = {part: float(getattr(self.lab.config, f"share_{part}")) for part in PARTS}
        budget = Budget(self.folder / "ledger.jsonl", limits, shares=shares, on_warning=self._warn)
        agent = AgentSpec.load(self.lab, AGENT)
        self.brain = self.given or open_brain(self.lab, agent, budget, self.events)
        self._announce(began, limits)
        works = NightWorks(self.lab, open_place(self.lab), self.night, self.events, budget)
        control = Control(self.lab, self.night, self.events, budget, works, self.heard)
        listening = asyncio.create_task(control.listen())
        try:
            with pulse.signals(works.stop, control.now):
                await works.adopt()
                await asyncio.to_thread(look_again, self.lab, self.events)
                end = await self._work(budget, works, control)
        finally:
            listening.cancel()
            await works.close()
        state = await asyncio.to_thread(wrap_up, self.lab, self.night, self.events, end.state, end.why)
        await asyncio.to_thread(close_night, self.lab, self.night, self.options.brief)
        self.events.close()
        budget.close()
        seconds = time.monotonic() - self.started
        result = Result(self.night, state, end.why, open_questions(self.lab), seconds, budget.spent().usd)
        return Outcome(result, over or control.stale)

    async def _work(self, budget: Budget, works: NightWorks, control: Control) -> End:
        """Watch after watch, until one ends the night; every failure is an ending."""
        try:
            session = self._session(budget, works, control)
            keeping = pulse.keep(self.events, session.journal)
            return await _until(control.now, self._watches(session), keeping, works)
        except BudgetExceeded as error:
            return End("stopped", str(error))
        except DiskFull:
            raise  # a night goes on when there is room; it does not end for it
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
            session.watch = Watch(self.folder, next_watch(self.folder))

    async def _one_watch(self, session: NightSession) -> graph.Where:
        session.open_watch()

        async def go_on(saver: Saver) -> graph.Where:
            self.staff.saver = saver
            app = graph.build(session, saver)
            name = thread(self.lab, self.night, session.watch.name)
            return await graph.go_on(app, name, session.watch)

        return await kept(self.lab, self.night, self.events, go_on)

    def _session(self, budget: Budget, works: NightWorks, control: Control) -> NightSession:
        agent = AgentSpec.load(self.lab, AGENT)
        watch, names = open_newest(self.folder, self.events), led_watches(self.folder)
        journal = Journal(self.folder)
        self.staff = NightStaff(
            self.lab, self.night, self.events, budget, journal, works, self._brain_for(budget), control
        )
        return NightSession(
            lab=self.lab,
            night=self.night,
            agent=agent,
            brain=self.brain,
            toolbox=toolbox_of(self.lab, agent),
            events=self.events,
            budget=budget,
            journal=journal,
            works=works,
            watch=watch,
            turns=sum(row["kind"] == "turn" and row["watch"] in names for row in self.events.read()),
            staff=self.staff,
            control=control,
        )

    def _brain_for(self, budget: Budget) -> BrainFor:
        """The brain of each agent: what was given, else what the lab's setting and the agent's file say."""
        if self.given_for:
            return self.given_for
        given = self.given
        return lambda agent: given or open_brain(self.lab, agent, budget, self.events)

    def _limits(self, began: dict[str, Any] | None) -> Limits:
        """The limits of a new night; those that a resumed one had last, where no other ones are given now."""
        given, config = self.options, self.lab.config
        before = limits_of(self.events.read())
        hours = given.gpu_hours if given.gpu_hours is not None else config.gpu_hours
        fresh = began is None
        timed = (given.deadline, given.until, given.hours) != (None, None, None)
        return Limits(
            usd=given.budget if given.budget is not None else before.get("usd", config.budget_usd),
            gpu_seconds=hours * 3600 if fresh or given.gpu_hours is not None else before["gpu_seconds"],
            deadline=deadline(given, self.lab) if fresh or timed else before["deadline"],
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
            branch=Repository(self.lab.root).branch(),
            limits=asdict(limits),
            config=self.lab.config.snapshot(),
            versions={"nightlab": __version__, "python": platform.python_version()},
            files=files,
        )

    def _warn(self, limit: str, share: float) -> None:
        self.events.emit("budget_warning", limit=limit, share=share)


async def _until(
    now: asyncio.Event, work: Coroutine[Any, Any, End], keep: Coroutine[Any, Any, None], works: NightWorks
) -> End:
    """The end of the work; where the night must end now, or its disk refuses, what is under way is cancelled."""
    working, asked, keeping = asyncio.create_task(work), asyncio.create_task(now.wait()), asyncio.create_task(keep)
    await asyncio.wait([working, asked, keeping], return_when=asyncio.FIRST_COMPLETED)
    refused = keeping.exception() if keeping.done() else None
    for task in (asked, keeping):
        task.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait([working], timeout=CANCELLING)
    if refused:
        raise refused
    return End("stopped", works.why_stopped)

"""Delegation: a sub-agent is a graph of its own inside a tool call of the agent that leads the night.

Everything about it follows from the id of that call: the names of its watches, its thread, its share of the budget.
So a call that is made again after a crash goes on with the same conversation, and no finished tool call is repeated.
Limits: the call returns when the sub-agent has reported; calls of one turn run side by side.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from nightlab import scopes
from nightlab.agents import AgentSpec
from nightlab.brains import Brain
from nightlab.budget import Budget, Limits, Share
from nightlab.errors import BudgetExceeded, NightlabError, UsageError, nearest
from nightlab.events import EventLog
from nightlab.files import sha256_text
from nightlab.lab import Lab, look_up_all
from nightlab.night import graph
from nightlab.night.control import Control
from nightlab.night.inputs import Inputs, resolve
from nightlab.night.journal import Journal
from nightlab.night.keeping import thread
from nightlab.night.playbook import Playbook
from nightlab.night.session import toolbox_of
from nightlab.night.sub_session import SubSession
from nightlab.night.watch import Watch, last_text
from nightlab.night.works import NightWorks
from nightlab.toolbox import ToolContext, ToolFailure

LONGEST_BRIEF = 20_000

BrainFor = Callable[[AgentSpec], Brain]


@dataclass(frozen=True)
class Order:
    """One piece of delegated work: who does what, with what, within which scope."""

    call: str
    watch: str
    """The name of its first watch; a further one has a number behind it."""
    agent: AgentSpec
    brief: str
    inputs: Inputs
    withheld: tuple[str, ...]
    """Globs of the agent's file that the delegating agent could not pass on."""


@dataclass
class NightStaff:
    """The agents that a night can delegate to; `saver` keeps where their graphs stand."""

    lab: Lab
    night: str
    events: EventLog
    budget: Budget
    journal: Journal
    works: NightWorks
    brain_for: BrainFor
    control: Control | None = None
    saver: BaseCheckpointSaver[str] | None = None

    async def delegate(self, ctx: ToolContext, agent: str, brief: str, inputs: Sequence[str]) -> dict[str, Any]:
        """Let an agent do what the brief says; its checked report. Raises ToolFailure, NightlabError."""
        order, brain = self._order(ctx, agent, brief, inputs)
        self._check_free(order)
        self.events.once(
            f"{order.call}/delegated",
            "delegation_started",
            call=order.call,
            agent=order.agent.name,
            brain=brain.name,
            watch=order.watch,
            brief=" ".join(brief.split())[:400],
            inputs=sorted(order.inputs.names(self.lab)),
            works_on=order.inputs.experiment,
            writes=list(order.agent.writes),
            withheld=list(order.withheld),
        )
        session = self._session(order, brain)
        try:
            report = await self._until_reported(session, order.watch)
        except (ToolFailure, NightlabError) as error:
            self._end(order, session, error)
            raise
        finally:
            session.watch.close()
        self._end(order, session, None)
        spent = session.budget.spent().usd
        told = {"agent": order.agent.name, "watch": session.watch.name, "turns": session.turns, "usd": round(spent, 6)}
        return {**told, "report": report}

    def _order(self, ctx: ToolContext, name: str, brief: str, inputs: Sequence[str]) -> tuple[Order, Brain]:
        agent = _agent(self.lab, name)
        brain = self.brain_for(agent)
        if isinstance(brain, Playbook):
            what = "the playbook knows one job, the queue, and works alone"
            raise ToolFailure("no_brain", what, "do it yourself; delegation needs a brain that is a model")
        if not brief.strip() or len(brief) > LONGEST_BRIEF:
            what = f"the brief has {len(brief)} characters"
            raise ToolFailure("bad_argument", what, f"say in 1 to {LONGEST_BRIEF} characters what to do and deliver")
        found = resolve(ctx, agent, inputs)
        wanted = scopes.filled(agent.writes, found.experiment)
        given = scopes.passed_on(wanted, ctx.agent.writes)
        watch = f"{ctx.watch or 'watch'}_{agent.name}_{sha256_text(ctx.call_id)[:8]}"
        withheld = tuple(glob for glob in wanted if glob not in given)
        return Order(ctx.call_id, watch, replace(agent, writes=given), brief, found, withheld), brain

    def _check_free(self, order: Order) -> None:
        """Refuse a second agent of one kind on one experiment while the first is at work."""
        at_work: dict[str, dict[str, Any]] = {}
        for row in self.events.read():
            if row["kind"] == "delegation_started":
                at_work[row["call"]] = row
            elif row["kind"] == "delegation_ended":
                at_work.pop(row["call"], None)
        if order.inputs.experiment is None or order.call in at_work:
            return
        for row in at_work.values():
            if (row["agent"], row["works_on"]) == (order.agent.name, order.inputs.experiment):
                what = f"a {row['agent']} is at work on {row['works_on']}"
                raise ToolFailure("busy", what, "wait for its report, or delegate another experiment")

    def _session(self, order: Order, brain: Brain) -> SubSession:
        folder = self.lab.night(self.night)
        rows = list(self.events.read())
        names = _watches(folder, order.watch)
        return SubSession(
            lab=self.lab,
            night=self.night,
            agent=order.agent,
            brain=brain,
            toolbox=toolbox_of(self.lab, order.agent),
            events=self.events,
            budget=Share(self.budget, order.watch, _limits(order, rows)),
            journal=self.journal,
            works=self.works,
            watch=Watch(folder, names[-1] if names else order.watch),
            turns=sum(row["kind"] == "turn" and row["watch"] in names for row in rows),
            control=self.control,
            brief=order.brief,
            inputs=order.inputs,
        )

    async def _until_reported(self, session: SubSession, first: str) -> dict[str, Any]:
        """Watch after watch until the report is there. Raises ToolFailure where it will not come."""
        while True:
            session.open_watch()
            outcome = await self._graph(session)
            if report := session.report():
                return report
            if outcome["outcome"] != "hand_over":
                raise _no_report(session, outcome["reason"])
            session.handover = last_text(session.watch.messages)
            session.watch.close()
            session.watch = Watch(self.lab.night(self.night), _next(first, session.watch.name))

    async def _graph(self, session: SubSession) -> graph.Where:
        assert self.saver is not None
        app = graph.build(session, self.saver)
        name = thread(self.lab, self.night, session.watch.name)
        # In a context of its own: LangGraph would take a graph inside a task for a part of the outer graph.
        work = graph.go_on(app, name, session.watch)
        return await asyncio.create_task(work, context=contextvars.Context())

    def _end(self, order: Order, session: SubSession, error: ToolFailure | NightlabError | None) -> None:
        told: dict[str, Any] = {"ok": error is None}
        if isinstance(error, ToolFailure):
            told |= {"code": error.error.code, "what": error.error.what[:400]}
        elif error is not None:
            told |= {"code": type(error).__name__, "what": error.what[:400]}
        spent = session.budget.spent()
        told |= {"turns": session.turns, "usd": spent.usd, "tokens": spent.tokens}
        key = f"{order.call}/reported"
        self.events.once(key, "delegation_ended", call=order.call, agent=order.agent.name, watch=order.watch, **told)


def _agent(lab: Lab, name: str) -> AgentSpec:
    """An agent that can be delegated to. Raises ToolFailure, SpecError."""
    known = [Path(key).stem for key in look_up_all(lab, "agents", "*.md")]
    try:
        agent = AgentSpec.load(lab, name)
    except UsageError as error:
        if name in known:
            raise
        close = nearest(name, known)
        next_step = f"delegate to {close}" if close else f"agents: {', '.join(known)}"
        raise ToolFailure("unknown_agent", f"there is no agent {name!r}", next_step) from error
    if not agent.returns:
        what = f"{name} has no form of report (`returns` in its file), so nobody can delegate to it"
        raise ToolFailure("not_delegable", what, "choose another agent, or do it yourself")
    return agent


def _limits(order: Order, rows: list[dict[str, Any]]) -> Limits:
    """The share of the budget that the agent's file gives it; its hours count from its start."""
    limits = order.agent.limits
    began = next(row["t"] for row in rows if row["kind"] == "delegation_started" and row["call"] == order.call)
    start = datetime.fromisoformat(began).timestamp()
    return Limits(
        usd=limits.get("usd"),
        tokens=int(limits["tokens"]) if "tokens" in limits else None,
        gpu_seconds=3600 * limits["gpu_hours"] if "gpu_hours" in limits else None,
        deadline=start + 3600 * limits["hours"] if "hours" in limits else None,
    )


def _no_report(session: SubSession, reason: str) -> ToolFailure:
    """Why there is no report, under a code that says what can be done about it."""
    name, said = session.agent.name, last_text(session.watch.messages)[:600]
    words = f"; its last words: {said!r}" if said else ""
    what = f"{name} did not report back: {reason}{words}"
    if session.works.stop.is_set():
        return ToolFailure("stopped", what, "the night is being closed: delegate again in the next one")
    if session.turns >= session.most_turns:
        next_step = (
            f"look at what it left in the files; delegate the rest, smaller, or raise limits in agents/{name}.md"
        )
        return ToolFailure("out_of_turns", what, next_step)
    try:
        session.budget.check_clock()
    except BudgetExceeded:
        return ToolFailure("out_of_time", what, "look at what it left in the files, and go on from there")
    return ToolFailure("no_report", what, "look at what it left in the files; delegate again with a clearer brief")


def _watches(folder: Path, first: str) -> list[str]:
    """The watches of one delegation, oldest first."""
    found = [path.stem for path in folder.glob(f"{first}*.jsonl")]
    return sorted(found, key=lambda name: _number(first, name))


def _number(first: str, name: str) -> int:
    return int(name.removeprefix(first).lstrip("_") or 1)


def _next(first: str, name: str) -> str:
    return f"{first}_{_number(first, name) + 1}"

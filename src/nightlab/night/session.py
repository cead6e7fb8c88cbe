"""A night at work: its limits, its log, its watch, and the tools that its agent calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nightlab.agents import AgentSpec
from nightlab.brains import Brain, Turn
from nightlab.budget import Budget
from nightlab.errors import BudgetExceeded
from nightlab.events import EventLog
from nightlab.files import sha256_text
from nightlab.lab import Lab
from nightlab.night import situation
from nightlab.night.control import Control
from nightlab.night.journal import Journal
from nightlab.night.thinking import catch_up, think
from nightlab.night.watch import Watch, last_text
from nightlab.night.works import NightWorks
from nightlab.secrets import Redactor
from nightlab.skills import index
from nightlab.toolbox import Staff, Toolbox, ToolContext

MAX_WATCH_BYTES = 600_000  # about 150,000 tokens: then the watch hands over


@dataclass
class NightSession:
    """Everything that a watch's graph needs; see graph.Session for what each method answers."""

    lab: Lab
    night: str
    agent: AgentSpec
    brain: Brain
    toolbox: Toolbox
    events: EventLog
    budget: Budget
    journal: Journal
    works: NightWorks
    watch: Watch
    turns: int
    handover: str | None = None
    control: Control | None = None
    """What people order; None for an agent that nobody speaks to."""
    why: str | None = None
    """Why the night is being closed, once its agent or its wrap-up said so."""
    staff: Staff | None = None
    """The agents that this one can delegate to."""
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        said = self.events.last("wrap_up")
        self.why = str(said["why"]) if said else None
        self.events.subscribe(self._hear)

    def _hear(self, row: dict[str, Any]) -> None:
        if row["kind"] == "wrap_up":
            self.why = str(row["why"])

    def open_watch(self) -> None:
        """Write the constant part of the watch, if this is its beginning."""
        if self.watch.header:
            catch_up(self)
            return
        skills = index(self.lab, self.agent.skills)
        text = f"{self.agent.prompt}\n\n{skills}" if skills else self.agent.prompt
        self.watch.open(self.agent.name, self.brain.name, [{"type": "text", "text": text}], self.schemas())
        self.events.emit("watch_started", watch=self.watch.name, agent=self.agent.name, brain=self.brain.name)

    def schemas(self) -> list[dict[str, Any]]:
        """The tools as the brain is told of them; constant for the watch."""
        return self.toolbox.schemas()

    def situation(self) -> str:
        """The text that opens a watch, without secrets."""
        facts = situation.situation(self.lab, self.night, self.budget, self.handover)
        return situation.render(Redactor().data(facts))

    async def steer(self) -> None:
        """Wait while the night is paused; then add what people said to the conversation."""
        if self.control is None:
            return
        await self.control.ready()
        if self.watch.awaits_brain():
            for key, text in self.control.words():
                message = {"role": "user", "content": [{"type": "text", "text": Redactor().data(text)}]}
                self.watch.append_once(key, message)

    def must_end(self) -> str | None:
        """Why no further turn may be taken: a limit, a stop from outside, or the agent's own end; else None."""
        if self.works.stop.is_set():
            return self.works.why_stopped
        if reason := self.ended():
            return reason
        turns = min(self.lab.config.turns, int(self.agent.limits.get("turns", self.lab.config.turns)))
        if self.turns >= turns:
            return f"all {turns} turns are used"
        try:
            self.budget.check_clock()
        except BudgetExceeded as error:
            return error.what
        return None

    def is_full(self) -> bool:
        """Whether the watch has grown to the size at which it hands over."""
        return self.watch.size > MAX_WATCH_BYTES

    async def think(self) -> Turn | None:
        """One turn of the brain, kept in the watch; see thinking.think. Raises BrainFailed, BudgetExceeded."""
        return await think(self)

    def tell(self, key: str, turn: Turn) -> None:
        """Count a turn and log it, once."""
        self.turns += 1
        said = last_text([{"role": "assistant", "content": turn.content}])
        calls = [block["name"] for block in turn.calls]
        self.events.once(
            key,
            "turn",
            watch=self.watch.name,
            said=said[:400],
            calls=calls,
            stop=turn.stop_reason,
            tokens=turn.usage.total,
            usd=turn.usd,
        )

    async def call(self, block: dict[str, Any]) -> dict[str, Any]:
        """The result of one tool call: a call that returned before returns the same again."""
        call_id, name = str(block["id"]), str(block["name"])
        if found := self.journal.result(call_id):
            return found
        where = self.watch.name
        self.events.once(f"{call_id}/start", "tool_started", call=call_id, tool=name, watch=where)
        result = await self.toolbox.call(name, block["input"], self._context(call_id))
        error = result.error
        self.journal.record(call_id, name, {"ok": result.ok, "content": result.to_json()})
        told = {"code": error.code, "what": error.what[:400]} if error else {}
        self.events.once(f"{call_id}/end", "tool_finished", call=call_id, tool=name, ok=result.ok, **told)
        return self.journal.result(call_id) or {}

    def _context(self, call_id: str) -> ToolContext:
        seed = int(sha256_text(call_id)[:8], 16)
        return ToolContext(
            self.lab,
            self.night,
            self.agent,
            self.events,
            self.budget,
            self.works,
            call_id=call_id,
            seed=seed,
            watch=self.watch.name,
            staff=self.staff,
        )

    def ended(self) -> str | None:
        """The reason that the agent gave for ending the night, or None."""
        return self.why

    def nudge(self) -> str:
        """What an agent that called no tool is told."""
        left = situation.limits(self.budget)
        return (
            f"You called no tool. The night goes on (left: {left}). Take the next step of the queue, `wait` for work "
            "under way, or call `end_night` with the reason."
        )


def toolbox_of(lab: Lab, agent: AgentSpec) -> Toolbox:
    """The tools of an agent: those of its file, what reads its skills, what hands in its report. Raises SpecError."""
    own = ["read_skill"] * bool(agent.skills) + ["report_back"] * bool(agent.returns)
    return Toolbox.load(lab, list(dict.fromkeys([*agent.tools, *own])))

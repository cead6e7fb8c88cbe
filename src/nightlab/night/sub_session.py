"""A sub-agent at work: a session of its own inside a night, which begins with a brief and ends with a report.

It shares the night's log, ledger and journal; its watch, tools, write scope and share of the budget are its own. It
leads nothing: it cannot delegate, and cannot end the night.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from nightlab.errors import BudgetExceeded
from nightlab.night import situation
from nightlab.night.failure_packet import server_packet, sweep_packet
from nightlab.night.inputs import Inputs
from nightlab.night.reports import schema
from nightlab.night.session import NightSession
from nightlab.secrets import Redactor
from nightlab.toolbox import ToolContext

REPORT = "report_back"
OPENING = "# Brief\n\n{brief}\n\n# What you have\n\n```json\n{facts}\n```\n"


@dataclass
class SubSession(NightSession):
    """The session of one delegation; see graph.Session for what each method answers."""

    brief: str = ""
    inputs: Inputs = field(default_factory=Inputs)

    def __post_init__(self) -> None:
        """Hear nothing of the night's end: only its own report ends a sub-agent's work."""

    @property
    def most_turns(self) -> int:
        """How many turns it may take, over all of its watches."""
        return int(self.agent.limits.get("turns", self.lab.config.turns))

    def schemas(self) -> list[dict[str, Any]]:
        """Its tools, with the form of its report."""
        return [_with_form(tool, schema(self.agent)) if tool["name"] == REPORT else tool for tool in super().schemas()]

    def situation(self) -> str:
        """The brief, what there is to work on and within which limits; for a failure, all that is known about it."""
        inputs = self.inputs
        facts: dict[str, Any] = {
            "night": self.night,
            "limits": {**situation.limits(self.budget), "turns": self.most_turns - self.turns},
            "inputs": [{"path": self.lab.relative(p), "bytes": _bytes(p)} for p in inputs.files],
            "experiment": inputs.experiment,
            "may_write": list(self.agent.writes),
        }
        if self.agent.returns == "diagnosis":
            facts["failures"] = [server_packet(self.lab, server) for server in inputs.servers]
            facts["sweep"] = sweep_packet(self.lab, inputs.experiment) if inputs.experiment else None
        else:
            facts["servers"] = list(inputs.servers)
        facts["handover"] = situation.cut(self.handover, 6000) if self.handover else None
        text = json.dumps(Redactor().data(facts), ensure_ascii=False, indent=1)
        return OPENING.format(brief=self.brief.strip(), facts=text)

    async def steer(self) -> None:
        """Wait while the night is paused; what people say is for the agent that leads it."""
        if self.control is not None:
            await self.control.ready()

    def must_end(self) -> str | None:
        """Why no further turn may be taken: its report, a limit, or a stop from outside; else None."""
        if reason := self.ended():
            return reason
        if self.works.stop.is_set():
            return self.works.why_stopped
        if self.turns >= self.most_turns:
            return f"all its {self.most_turns} turns are used"
        try:
            self.budget.check_clock()
        except BudgetExceeded as error:
            return error.what
        return None

    def report(self) -> dict[str, Any] | None:
        """The report that was handed in and fits its form, or None."""
        for message in self.watch.messages:
            for block in message["content"] if message["role"] == "assistant" else []:
                if block["type"] == "tool_use" and block["name"] == REPORT:
                    found = self.journal.result(str(block["id"]))
                    if found and found["ok"]:
                        return dict(json.loads(found["content"])["data"])
        return None

    def ended(self) -> str | None:
        """That it reported, or None."""
        return "it reported back" if self.report() is not None else None

    def nudge(self) -> str:
        """What an agent that called no tool is told."""
        return (
            f"You called no tool. Go on (turns left: {self.most_turns - self.turns}), or hand in what you have with "
            f"{REPORT}: nothing that you only say reaches the agent that asked you."
        )

    def _context(self, call_id: str) -> ToolContext:
        files = frozenset(self.inputs.files) if self.agent.reads == "listed" else None
        given = self.inputs.names(self.lab)
        return replace(super()._context(call_id), leads=False, reads=files, given=given, staff=None)


def _with_form(tool: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    given = tool["input_schema"]
    report = {**form, "description": given["properties"]["report"]["description"]}
    return {**tool, "input_schema": {**given, "properties": {"report": report}}}


def _bytes(path: Any) -> int | None:
    return path.stat().st_size if path.is_file() else None

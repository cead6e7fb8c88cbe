"""A lab with the shipped experiment, and its tools called as a night calls them."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nightlab.agents import AgentSpec
from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.lab import Lab, shipped
from nightlab.toolbox import Toolbox, ToolContext, ToolResult
from tests.night.conftest import make_lab

EXPERIMENT = "exp_001_phase1_replication"
NIGHT = "20261123-010203"


@dataclass
class Handles:
    """Works that are only named: what a tool asked for."""

    asked: list[str] = field(default_factory=list)

    def ensure(self, handle: str) -> None:
        self.asked.append(handle)

    def forget(self, handle: str) -> None:
        self.asked.append(f"forget {handle}")

    async def wait(self, handles: Sequence[str], timeout: float) -> list[dict[str, Any]]:
        return [{"handle": handle, "state": "done", "result": {"waited": timeout}} for handle in handles]


@dataclass
class Night:
    """A lab, and a way to call its tools."""

    lab: Lab
    works: Handles
    events: EventLog
    call: Callable[..., Awaitable[ToolResult]]


def files(lab: Lab) -> dict[str, bytes]:
    """Every file of a lab outside git and outside the night's own log, for 'nothing was written'."""
    found = (p for p in lab.root.rglob("*") if p.is_file() and not {".git", "nights"} & set(p.parts))
    return {str(p.relative_to(lab.root)): p.read_bytes() for p in found}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    lab = make_lab(tmp_path / "lab", queue=f"- [ ] {EXPERIMENT}: the first\n")
    source = shipped("experiments") / EXPERIMENT
    for part in ("config.yaml", "rubric.md", "prompts", "conditions"):
        if (source / part).is_dir():
            shutil.copytree(source / part, lab.experiments / EXPERIMENT / part)
        else:
            (lab.experiments / EXPERIMENT).mkdir(exist_ok=True)
            shutil.copy(source / part, lab.experiments / EXPERIMENT / part)
    box, agent = Toolbox.load(lab), AgentSpec.load(lab, "orchestrator")
    events, works = EventLog(lab.night(NIGHT)), Handles()
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits())
    count = iter(range(1000))

    async def call(tool: str, /, call_id: str | None = None, **arguments: Any) -> ToolResult:
        name = call_id or f"toolu_{next(count)}"
        return await box.call(tool, arguments, ToolContext(lab, NIGHT, agent, events, budget, works, name))

    return Night(lab, works, events, call)

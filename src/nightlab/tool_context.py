"""Where a tool call stands: who calls, for which night, and what the call may read and write.

The checks resolve links and `..`; they guard against mistakes and against what a model was talked into, not against a
process that swaps folders between check and write.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nightlab import scopes
from nightlab.agents import AgentSpec
from nightlab.budget import Budget
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.tool_result import ToolFailure

VIOLATIONS = ("outside_lab", "not_allowed")  # codes of calls that left the agent's scope


class Works(Protocol):
    """Background work of a night behind handles: the night waits for it, the model does not poll."""

    def forget(self, handle: str) -> Any:
        """Let the work of a handle that ended be started anew."""
        ...

    def ensure(self, handle: str) -> Any:
        """Start the work of a handle, or find it running or done."""
        ...

    async def wait(self, handles: Sequence[str], timeout: float) -> Any:
        """Wait until one of the handles has news, at most `timeout` seconds."""
        ...


class Staff(Protocol):
    """The other agents of a night, as the one that leads it reaches them."""

    async def delegate(self, ctx: ToolContext, agent: str, brief: str, inputs: Sequence[str]) -> dict[str, Any]:
        """Let another agent do what the brief says; its report. Raises ToolFailure."""
        ...


@dataclass
class ToolContext:
    """Where a call stands: the lab, the night, who calls, and what the call may use."""

    lab: Lab
    night: str
    agent: AgentSpec
    events: EventLog
    budget: Budget
    works: Works
    call_id: str
    seed: int = 0
    watch: str = ""
    leads: bool = True
    """Whether this agent leads the night; one that works for another does not."""
    reads: frozenset[Path] | None = None
    """The only files that the agent may read, resolved; None for all of the lab."""
    given: frozenset[str] = frozenset()
    """What the agent was given to work on, as it was named: files, an experiment, servers."""
    staff: Staff | None = None

    def inside(self, path: str | Path) -> Path:
        """A path of the lab with links and `..` resolved. Raises ToolFailure for one that leaves the lab."""
        resolved = (self.lab.root / path).resolve()
        if not resolved.is_relative_to(self.lab.root.resolve()):
            raise ToolFailure("outside_lab", f"{path} is not inside the lab", "give a path relative to the lab's root")
        return resolved

    def may_read(self, path: Path) -> bool:
        """Whether the agent may read a resolved path of the lab."""
        if ".git" in path.relative_to(self.lab.root.resolve()).parts:
            return False
        return self.reads is None or path in self.reads

    def readable(self, path: str | Path) -> Path:
        """The resolved path, which the agent may read. Raises ToolFailure."""
        resolved = self.inside(path)
        if not self.may_read(resolved):
            given = ", ".join(sorted(map(self.lab.relative, self.reads or ())))
            next_step = f"you were given {given}" if given else "git's own files are not for reading"
            raise ToolFailure("not_allowed", f"{self.agent.name} may not read {path}", next_step)
        return resolved

    def may_write(self, path: str | Path) -> bool:
        """Whether the agent's globs cover this path, links and `..` resolved, and it is none that only code writes."""
        inner = self._inner(path)
        return inner is not None and self._covers(inner) and not scopes.protected(self.lab.root, inner)

    def writable(self, path: str | Path) -> Path:
        """The resolved path, which the agent may write. Raises ToolFailure."""
        resolved = self.in_scope(path)
        if why := scopes.protected(self.lab.root, self._inner(path) or ""):
            raise ToolFailure("not_allowed", f"{self.agent.name} may not write {path}: {why}", "leave it as it is")
        return resolved

    def in_scope(self, path: str | Path) -> Path:
        """The resolved path, for a tool whose code writes it: only the agent's globs count. Raises ToolFailure."""
        inner = self._inner(path)
        if inner is None or not self._covers(inner):
            allowed = ", ".join(self.agent.writes) or "nothing"
            raise ToolFailure("not_allowed", f"{self.agent.name} may not write {path}", f"it may write {allowed}")
        return self.inside(path)

    def _inner(self, path: str | Path) -> str | None:
        resolved, root = Path(os.path.realpath(self.lab.root / path)), self.lab.root.resolve()  # of a loop, too
        return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else None

    def _covers(self, inner: str) -> bool:
        return ".git" not in inner.split("/") and scopes.covers(self.agent.writes, inner)

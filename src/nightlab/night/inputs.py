"""What a sub-agent is given to work on: files, one experiment, servers; named by the agent that delegates.

Names are resolved before anything starts. An agent that reads only what is listed is given files, each one by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nightlab.agents import AgentSpec
from nightlab.errors import UsageError
from nightlab.lab import Lab
from nightlab.scopes import EXPERIMENT
from nightlab.toolbox import ToolContext, ToolFailure

MOST = 40
_EXPERIMENT = re.compile(r"(?:experiments/)?(exp_\d{3,}_[a-z0-9_]+)/?")


@dataclass(frozen=True)
class Inputs:
    """The resolved inputs of one delegation."""

    files: tuple[Path, ...] = ()
    experiment: str | None = None
    servers: tuple[str, ...] = ()

    def names(self, lab: Lab) -> frozenset[str]:
        """Everything by the name that the agent is told."""
        own = [self.experiment] if self.experiment else []
        return frozenset([*(lab.relative(path) for path in self.files), *own, *self.servers])


def resolve(ctx: ToolContext, agent: AgentSpec, inputs: Iterable[str]) -> Inputs:
    """The inputs as files, experiment and servers. Raises ToolFailure for one that names nothing."""
    given = list(dict.fromkeys(inputs))
    if len(given) > MOST:
        raise ToolFailure("bad_argument", f"{len(given)} inputs", f"name at most {MOST}, those that matter")
    files: list[Path] = []
    experiments: list[str] = []
    servers: list[str] = []
    for name in given:
        if agent.reads != "listed" and (found := _experiment(ctx.lab, name)):
            experiments.append(found)
        elif agent.reads != "listed" and (ctx.lab.servers / f"{name}.json").is_file() and "/" not in name:
            servers.append(name)
        else:
            files.append(_file(ctx, agent, name))
    _check(agent, files, experiments)
    return Inputs(tuple(files), experiments[0] if experiments else None, tuple(servers))


def _experiment(lab: Lab, name: str) -> str | None:
    """The experiment that a name means: one that exists, or one to be made."""
    try:
        return lab.experiment(name.removeprefix("experiments/").rstrip("/")).name
    except UsageError:
        new = _EXPERIMENT.fullmatch(name)
        return new[1] if new else None


def _file(ctx: ToolContext, agent: AgentSpec, name: str) -> Path:
    place = ctx.readable(name)
    if place.is_dir() and agent.reads == "listed":
        raise ToolFailure("bad_argument", f"{name} is a folder, and {agent.name} sees files", "name each file")
    if not place.exists():
        raise ToolFailure("file_not_found", f"there is no {name}", "name files, an experiment or servers that exist")
    return place


def _check(agent: AgentSpec, files: list[Path], experiments: list[str]) -> None:
    if agent.reads == "listed" and not files:
        raise ToolFailure("bad_argument", f"{agent.name} sees only the files listed, and none is", "list the files")
    if len(experiments) > 1:
        both = " and ".join(experiments[:2])
        raise ToolFailure("bad_argument", f"{both}: an agent works on one experiment", "delegate once for each")
    if not experiments and any(EXPERIMENT in glob for glob in agent.writes):
        raise ToolFailure("bad_argument", f"{agent.name} needs an experiment to work on", "name it in inputs")

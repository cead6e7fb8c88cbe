"""Agents: who acts. One Markdown file each, front matter for the harness and a body that is the system prompt.

The keys are those of Claude Code's sub-agents (name, description, model, effort, tools, skills) plus `reads` (lab, or
listed: only the files it is given), `writes` (the path globs it may write), `network` (of its commands: false, true, or
loopback for the lab's own servers), `returns` (the form of its report; only an agent with one can be delegated to) and
`limits`. What a file asks for is checked when it is loaded, not at first use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from nightlab import front_matter
from nightlab.errors import SpecError, nearest
from nightlab.lab import Found, Lab, look_up, look_up_all

Network = Literal["none", "loopback", "all"]
KEYS = ("name", "description", "model", "effort", "tools", "skills", "reads", "writes", "network", "returns", "limits")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
READS = ("lab", "listed")
NETWORKS: dict[object, Network] = {None: "none", False: "none", True: "all", "loopback": "loopback"}
RETURNS = ("experiment", "diagnosis", "findings")
LIMITS = ("turns", "usd", "tokens", "gpu_hours", "hours")


@dataclass(frozen=True)
class AgentSpec:
    """One agent as its file describes it; `limits` holds only what the file limits."""

    name: str
    description: str
    prompt: str
    model: str = ""
    effort: str = "high"
    tools: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    reads: str = "lab"
    writes: tuple[str, ...] = ()
    network: Network = "none"
    returns: str = ""
    limits: dict[str, float] = field(default_factory=dict)
    found: Found | None = None

    @classmethod
    def load(cls, lab: Lab, name: str) -> AgentSpec:
        """The agent `agents/<name>.md` of the lab, else the shipped one. Raises UsageError, SpecError."""
        agent = read(look_up(lab, "agents", f"{name}.md"))
        path = agent.found.path if agent.found else lab.root
        _check_known("tool", agent.tools, {PurePosixPath(k).stem for k in look_up_all(lab, "tools", "*.py")}, path)
        _check_known("skill", agent.skills, {k.split("/")[0] for k in look_up_all(lab, "skills", "*/SKILL.md")}, path)
        return agent


def read(found: Found) -> AgentSpec:
    """An agent file by itself, without a look at the tools and skills it names. Raises SpecError."""
    path = found.path
    fields, prompt = front_matter.split(path)
    front_matter.check_keys(fields, KEYS, ("name", "description"), path)
    if "tools" not in fields:
        raise SpecError("the front matter lacks tools", where=path, hint="list them; `tools: []` gives none")
    name = front_matter.text_of(fields, "name", path, 64)
    if name != path.stem:
        raise SpecError(f"the name {name!r} is not the file's", where=path, hint=f"name: {path.stem}")
    if not prompt:
        raise SpecError("no system prompt after the front matter", where=path)
    return AgentSpec(
        name=name,
        description=front_matter.text_of(fields, "description", path, 1024),
        prompt=prompt,
        model=front_matter.text_of(fields, "model", path, 200),
        effort=_one_of(fields, "effort", EFFORTS, "high", path),
        tools=front_matter.words_of(fields, "tools", path),
        skills=front_matter.words_of(fields, "skills", path),
        reads=_one_of(fields, "reads", READS, "lab", path),
        writes=_writes(fields, path),
        network=_network(fields, path),
        returns=_one_of(fields, "returns", RETURNS, "", path),
        limits=_limits(fields, path),
        found=found,
    )


def describe(lab: Lab) -> list[dict[str, Any]]:
    """Every agent with its layer, hash, tools and, where its file cannot be used, the reason."""
    rows = []
    for key, found in look_up_all(lab, "agents", "*.md").items():
        name = PurePosixPath(key).stem
        if name == "README":
            continue
        row: dict[str, Any] = {"kind": "agent", "name": name, "path": str(found.path)}
        row |= {"origin": found.origin, "sha256": found.sha256}
        try:
            agent = AgentSpec.load(lab, name)
            rows.append(row | {"summary": agent.description, "tools": list(agent.tools), "problem": None})
        except SpecError as error:
            rows.append(row | {"summary": "", "tools": [], "problem": str(error)})
    return rows


def _one_of(fields: dict[str, Any], key: str, known: tuple[str, ...], default: str, path: Path) -> str:
    word = front_matter.text_of(fields, key, path, 20) or default
    if word != default and word not in known:
        raise SpecError(f"{key} is {word!r}", where=path, hint=f"one of {', '.join(known)}")
    return word


def _writes(fields: dict[str, Any], path: Path) -> tuple[str, ...]:
    globs = front_matter.words_of(fields, "writes", path)
    for glob in globs:
        if glob.startswith(("/", "~")) or ".." in PurePosixPath(glob).parts:
            raise SpecError(f"writes leaves the lab: {glob}", where=path, hint="globs are relative to the lab's root")
    return globs


def _network(fields: dict[str, Any], path: Path) -> Network:
    wanted = fields.get("network")
    if not isinstance(wanted, bool | str | None) or wanted not in NETWORKS:
        raise SpecError(f"network is {wanted!r}", where=path, hint="false, true, or loopback")
    return NETWORKS[wanted]


def _limits(fields: dict[str, Any], path: Path) -> dict[str, float]:
    limits = fields.get("limits") or {}
    if not isinstance(limits, dict):
        raise SpecError(f"limits is no mapping: {limits!r}", where=path, hint="limits: {turns: 200, usd: 5}")
    for key, value in limits.items():
        if key not in LIMITS:
            close = nearest(str(key), LIMITS)
            hint = f"did you mean {close}?" if close else f"known limits: {', '.join(LIMITS)}"
            raise SpecError(f"unknown limit {key!r}", where=path, hint=hint)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise SpecError(f"limits.{key} is {value!r}, not a number above 0", where=path)
    return {str(key): float(value) for key, value in limits.items()}


def _check_known(kind: str, wanted: tuple[str, ...], known: set[str], path: Path) -> None:
    for name in wanted:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
            raise SpecError(f"there is no {kind} {name!r}", where=path, hint=hint)

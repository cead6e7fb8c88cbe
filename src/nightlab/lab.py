"""A lab: a folder under git whose pyproject.toml has [tool.nightlab]. Every path of it is made here, and nowhere else.

The top-level folders agents/, tools/, skills/, experiments/ and state/ are shipped with the package; a lab inherits,
file by file, what it does not have itself: first the lab's own file, else the shipped one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightlab import settings
from nightlab.errors import LabError, UsageError, nearest
from nightlab.files import sha256_file

KINDS = ("agents", "tools", "skills", "experiments", "state")
_EXPERIMENT = re.compile(r"exp_(\d{3,})_[a-z0-9_]+")


class Lab:
    """One lab: its root, its settings, and every path in it."""

    def __init__(self, root: Path, config: settings.Config) -> None:
        self.root = root
        self.config = config
        self.agents = root / "agents"
        self.tools = root / "tools"
        self.skills = root / "skills"
        self.proposals = root / "proposals"
        self.experiments = root / "experiments"
        self.state = root / "state"
        self.trained = root / "adapters"
        self.state_file = self.state / "RESEARCH_STATE.md"
        self.diary = self.state / "research_diary.md"
        self.brief = self.state / "brief.md"
        self.nights = self.state / "nights"
        self.servers = self.state / "servers"
        self.failures = self.state / "failures"
        self.learned = self.state / "learned.yaml"
        self.notes = root / "scaffolding_notes.md"
        self.cache = root / ".nightlab"
        self.checkpoints = root / config.checkpoints
        self.adapters_cache = self.cache / "adapters"
        self.jobs = self.cache / "jobs"
        self.lock = self.cache / "lock"
        self.supervisor = self.cache / "supervisor"
        self.heartbeat = self.cache / "heartbeat"
        self.worker = self.cache / "worker"

    @classmethod
    def open(cls, root: Path, flags: Mapping[str, settings.Value | None] | None = None) -> Lab:
        """The lab whose root this folder is. Raises LabError where it is none, ConfigError for its settings."""
        root = root.resolve()
        pyproject = root / "pyproject.toml"
        if not pyproject.is_file() or settings.read_table(pyproject) is None:
            raise LabError(
                "not a lab: no pyproject.toml with [tool.nightlab]", where=root, hint="`nightlab init DIR` makes one"
            )
        return cls(root, settings.load(pyproject, flags))

    @classmethod
    def find(cls, start: Path | None = None, flags: Mapping[str, settings.Value | None] | None = None) -> Lab:
        """The lab that a folder (default: the current one) stands in. Raises LabError, ConfigError."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "pyproject.toml").is_file() and settings.read_table(folder / "pyproject.toml") is not None:
                return cls.open(folder, flags)
        hint = "go into a lab, or make one: `nightlab init DIR`; `nightlab demo` shows one at work"
        raise LabError("no lab here or above", where=here, hint=hint)

    def experiment_names(self) -> list[str]:
        """The names of all experiments, in order. Raises LabError where two share a number."""
        folders = sorted(self.experiments.iterdir()) if self.experiments.is_dir() else []
        names = [f.name for f in folders if _EXPERIMENT.fullmatch(f.name) and f.is_dir()]
        numbers: dict[int, str] = {}
        for name in names:
            number = _number(name)
            if number in numbers:
                hint = "rename one of the two folders"
                raise LabError(f"{numbers[number]} and {name} have one number", where=self.experiments, hint=hint)
            numbers[number] = name
        return names

    def experiment(self, name: str) -> Path:
        """The folder of an experiment, by its full name or its number (`exp_001`, `001`, `1`). Raises UsageError."""
        names = self.experiment_names()
        wanted = re.fullmatch(r"(?:exp_)?(\d+)", name)
        if name in names:
            return self.experiments / name
        for known in names:
            if wanted and _number(known) == int(wanted[1]):
                return self.experiments / known
        close = nearest(name, names)
        hint = f"did you mean {close}?" if close else f"known: {', '.join(names) or 'none yet'}"
        raise UsageError(f"no experiment {name!r}", where=self.experiments, hint=hint)

    def night(self, name: str) -> Path:
        """The folder of a night's events, transcripts and ledger."""
        return self.nights / name

    def control(self, night: str) -> Path:
        """What people ordered while a night ran."""
        return self.night(night) / "control.jsonl"

    def night_names(self) -> list[str]:
        """The names of all nights, oldest first: they sort by their start."""
        return sorted(p.name for p in self.nights.iterdir() if p.is_dir()) if self.nights.is_dir() else []

    def latest_night(self) -> str | None:
        """The newest night, or None."""
        names = self.night_names()
        return names[-1] if names else None

    def relative(self, path: Path) -> str:
        """A path as texts show it: relative to the lab where it stands in it."""
        resolved = path.resolve()
        return str(resolved.relative_to(self.root)) if resolved.is_relative_to(self.root) else str(resolved)


def _number(experiment: str) -> int:
    found = _EXPERIMENT.fullmatch(experiment)
    assert found is not None
    return int(found[1])


@dataclass(frozen=True)
class Found:
    """A file that was looked up in two layers, and the layer it came from."""

    path: Path
    origin: Literal["lab", "shipped"]
    sha256: str


def shipped(kind: str = "") -> Path:
    """The shipped folder of a kind (agents, tools, ...): in a wheel `nightlab/_lab`, in a checkout its root."""
    packed = Path(__file__).parent / "_lab"
    return (packed if packed.is_dir() else Path(__file__).parents[2]) / kind


def look_up(lab: Lab, kind: str, name: str) -> Found:
    """One file of a kind: the lab's own, else the shipped one. Raises UsageError naming the nearest."""
    for origin, folder in _layers(lab, kind):
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return Found(path, origin, sha256_file(path))
    close = nearest(name, look_up_all(lab, kind, "**/*"))
    raise UsageError(
        f"no {kind}/{name} in this lab or shipped",
        where=lab.root,
        hint=f"did you mean {kind}/{close}?" if close else None,
    )


def look_up_all(lab: Lab, kind: str, pattern: str) -> dict[str, Found]:
    """Every file of a kind that matches a glob, by its path below the folder; the lab's own hides the shipped one."""
    found: dict[str, Found] = {}
    for origin, folder in reversed(_layers(lab, kind)):
        for path in sorted(folder.glob(pattern)) if folder.is_dir() else []:
            if path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(folder))] = Found(path, origin, sha256_file(path))
    return dict(sorted(found.items()))


def _layers(lab: Lab, kind: str) -> list[tuple[Literal["lab", "shipped"], Path]]:
    if kind not in KINDS:
        raise UsageError(f"no kind {kind!r} of file", hint=f"kinds: {', '.join(KINDS)}")
    own, ours = lab.root / kind, shipped(kind)
    return [("lab", own)] if own.resolve() == ours.resolve() else [("lab", own), ("shipped", ours)]

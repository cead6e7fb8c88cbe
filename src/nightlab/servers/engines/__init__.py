"""The seam between nightlab and a model server: how it is started, in which environment, and what its log says.

An engine speaks vLLM's OpenAI protocol, so everything that is asked of a running server is the same for all of them
(readiness.py, canary.py). A third engine is one file here with the members of `Engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nightlab.errors import UsageError, nearest
from nightlab.settings import Config

Option = str | int | float | bool
NAMES = ("embedded", "vllm")


@dataclass(frozen=True)
class Need:
    """What a server of one model has to hold. `options` by their names in a plan's `serving`, learned ones included."""

    model: Path
    served_name: str
    conditions: int = 1
    adapters: int = 0
    rank: int = 0
    options: Mapping[str, Option] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Room:
    """How many adapters a server holds: those of one batch, and those in memory; what falls out is read from disk."""

    batch: int
    memory: int


class Engine(Protocol):
    """A kind of model server."""

    @property
    def name(self) -> str:
        """By which plans and settings name it."""

    @property
    def plain_base(self) -> bool:
        """Whether a plain request keeps the plain model beside requests with an adapter."""

    @property
    def options(self) -> frozenset[str]:
        """The options of a plan's `serving` that it understands."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The distributions whose versions and code decide how it answers."""

    @property
    def milestones(self) -> tuple[tuple[str, str], ...]:
        """What its log says on the way to readiness, in order: (text, what it means)."""

    def python(self, config: Config, root: Path) -> list[str]:
        """The command of the interpreter that runs it. Raises NotSetUp where it is not installed."""

    def command(self, python: list[str], need: Need) -> list[str]:
        """Its command; the word {port} is filled in at every start."""

    def environment(self, need: Need) -> dict[str, str]:
        """What its environment has to have."""

    def room(self, need: Need) -> Room | None:
        """How many adapters it holds at a time; None for an engine that keeps every one."""

    def gpus(self, need: Need) -> int:
        """How many GPUs it uses where it sees more."""


def engine(name: str) -> Engine:
    """The engine of this name. Raises UsageError."""
    if name == "embedded":
        from nightlab.servers.engines.embedded import Embedded

        return Embedded()
    if name == "vllm":
        from nightlab.servers.engines.vllm import Vllm

        return Vllm()
    close = nearest(name, NAMES)
    raise UsageError(f"no engine {name!r}", hint=f"did you mean {close}?" if close else f"known: {', '.join(NAMES)}")


def stage(kind: Engine, log: str) -> str:
    """How far a start has come, by its log."""
    reached = _reached(kind, log)
    return reached[-1] if reached else "nothing of a start in its log yet"


def stage_of(log: str) -> str | None:
    """How far a start has come, by its log alone; None where it is no start's.

    In the words of the engine whose milestones stand in it; of two with as many, of the one that it names.
    """
    told = {name: _reached(engine(name), log) for name in NAMES}
    whose = max(NAMES, key=lambda name: (len(told[name]), name in log.lower()))
    return told[whose][-1] if told[whose] else None


def _reached(kind: Engine, log: str) -> list[str]:
    return [meaning for text, meaning in kind.milestones if text in log]

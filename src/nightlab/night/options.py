"""How a night is asked for, and how it ended."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from nightlab.errors import UsageError
from nightlab.lab import Lab

NightWord = Literal["running", "waiting", "finished", "stopped", "failed", "dead"]
Ending = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Options:
    """What the command line asks of a night; None takes the lab's setting."""

    until: str | None = None
    """Local clock time of the deadline, HH:MM; the next time that the clock shows it."""
    hours: float | None = None
    """Hours from now to the deadline."""
    budget: float | None = None
    """US dollars."""
    gpu_hours: float | None = None
    deadline: float | None = None
    """Seconds since the epoch; stands above `until` and `hours`."""
    brief: Callable[[Lab], Path] | None = None
    """Writes the morning brief; called by the wrap-up before its last commit."""


@dataclass(frozen=True)
class Result:
    """How a night ended."""

    night: str
    state: Ending
    reason: str
    needs_you: int
    seconds: float
    usd: float


@dataclass(frozen=True)
class Launch:
    """What a night's worker is started with, frozen in a file; limits that are None are the lab's or the night's own.

    `brief` and `brain` are importable functions, `module:function`: what writes the morning brief of a lab, and what
    makes the brain that answers the turns (None: the one that the lab's settings name). So a test of a lab's own agents
    and tools can run whole nights, with real processes, on `nightlab.brains.Scripted`.
    """

    lab: str
    night: str
    flags: dict[str, Any] = field(default_factory=dict)
    budget: float | None = None
    gpu_hours: float | None = None
    deadline: float | None = None
    brief: str | None = None
    brain: str | None = None
    heard: int = 0
    """Bytes of the night's control file that are of an earlier launch."""

    def options(self) -> Options:
        """The same as a night's process takes it."""
        return Options(budget=self.budget, gpu_hours=self.gpu_hours, deadline=self.deadline, brief=named(self.brief))

    def without_limits(self) -> Launch:
        """The same night once it has begun: its own limits stand, as people may have changed them since."""
        return replace(self, budget=None, gpu_hours=None, deadline=None)


def new_night(lab: Lab) -> str:
    """A name for a night that begins now; names sort by their beginning, and no two nights of a lab share one."""
    begins, newest = datetime.now(UTC), lab.latest_night() or ""
    while (name := begins.strftime("%Y%m%d-%H%M%S")) <= newest:
        begins += timedelta(seconds=1)
    return name


def named(name: str | None) -> Any:
    """The function that `module:function` names, None for None. Raises UsageError where there is none."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{name!r} names no function: {error}", hint="write it as module:function") from error


def deadline(options: Options, lab: Lab) -> float:
    """The deadline in seconds since the epoch. Raises UsageError for a clock time that is none, or two answers."""
    if options.deadline is not None:
        return options.deadline
    if options.until and options.hours is not None:
        raise UsageError("--until and --hours both set the deadline", hint="give one of them")
    if options.until:
        return next_time(options.until)
    return time.time() + 3600 * (options.hours if options.hours is not None else lab.config.hours)


def next_time(clock: str) -> float:
    """When the local clock shows HH:MM the next time, in seconds since the epoch. Raises UsageError."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", clock)
    if not found:
        raise UsageError(f"--until {clock!r} is no clock time", hint="write it as HH:MM, for example 07:00")
    here = datetime.now().astimezone()
    then = here.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    return (then if then > here else then + timedelta(days=1)).timestamp()

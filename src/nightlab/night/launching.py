"""A night under a supervisor, in this process: which night, with which limits; and the next one where it was over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nightlab.lab import Lab
from nightlab.night.control import size_of
from nightlab.night.options import Launch, Options, Result, deadline, named, new_night
from nightlab.night.state import unclosed, unfinished
from nightlab.night.supervisor import Supervisor

Listener = Callable[[dict[str, Any]], None]


def run_supervised(
    lab: Lab,
    options: Options,
    *,
    brief: str | None = None,
    brain: str | None = None,
    flags: Mapping[str, Any] | None = None,
    on_event: Listener | None = None,
) -> Result:
    """Run a night, or go on with the one that was cut off, in a worker of its own; blocks until the lab is wrapped up.

    `brief` and `brain` are importable functions, see Launch; `flags` are the settings that the lab was opened with.
    Preflight is the caller's. Raises LockHeld, and what kept the night from beginning.
    """
    if (done := unclosed(lab)) and (result := _closed(lab, done, brief)):
        return result
    old = unfinished(lab)
    night = old or new_night(lab)
    timed = (options.deadline, options.until, options.hours) != (None, None, None)
    launch = Launch(
        str(lab.root),
        night,
        {name: value for name, value in (flags or {}).items() if value is not None},
        options.budget,
        options.gpu_hours,
        deadline(options, lab) if timed or not old else None,
        brief,
        brain,
        size_of(lab.control(night)),
    )
    supervisor = Supervisor(lab, launch, on_event=on_event)
    result = supervisor.run()
    if old and supervisor.only_closed:
        return run_supervised(lab, options, brief=brief, brain=brain, flags=flags, on_event=on_event)
    return result


def _closed(lab: Lab, night: str, brief: str | None) -> Result | None:
    from nightlab.night.wrapup import close_unclosed

    return close_unclosed(lab, night, named(brief))

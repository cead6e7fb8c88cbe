"""A night under a supervisor, in this process: which night, with which limits; and the next one where it was over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from nightlab.errors import UsageError
from nightlab.lab import Lab
from nightlab.night.control import send, size_of
from nightlab.night.lock import orphan
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
    A night whose worker outlived its supervisor is taken over as it runs; limits given now are an order to it.
    Preflight is the caller's. Raises LockHeld, and what kept the night from beginning.
    """
    left = orphan(lab)
    if not left and (done := unclosed(lab)) and (result := _closed(lab, done, brief)):
        return result
    old = left.night if left else unfinished(lab)
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
    if left:
        _order(lab, launch)
    supervisor = Supervisor(lab, launch, on_event=on_event)
    result = supervisor.run()
    if old and supervisor.only_closed:
        return run_supervised(lab, options, brief=brief, brain=brain, flags=flags, on_event=on_event)
    return result


def _order(lab: Lab, launch: Launch) -> None:
    """Give the limits of a launch to the night that runs already."""
    hours = launch.gpu_hours
    given = {"usd": launch.budget, "gpu_seconds": hours and hours * 3600, "deadline": launch.deadline}
    if limits := {name: value for name, value in given.items() if value is not None}:
        with contextlib.suppress(UsageError):  # it has just ended
            send(lab, "budget", lab.config.human, **limits)


def _closed(lab: Lab, night: str, brief: str | None) -> Result | None:
    from nightlab.night.wrapup import close_unclosed

    return close_unclosed(lab, night, named(brief))

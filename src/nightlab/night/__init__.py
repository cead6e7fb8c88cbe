"""The night: wake, think, act, wait, wrap up; resume at any instant; and the brain that needs no model.

The heavy parts are imported when a night runs; asking what one is doing stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nightlab.lab import Lab
from nightlab.night.options import Options, Result
from nightlab.night.state import NightState, night_state, unfinished

if TYPE_CHECKING:
    from nightlab.brains import Brain
    from nightlab.night.delegation import BrainFor

__all__ = ["NightState", "Options", "Result", "night_state", "preflight", "run_night", "unfinished"]


def preflight(lab: Lab, options: Options) -> None:
    """Raise what would keep a night from running; see nightlab.night.launch."""
    from nightlab.night.launch import preflight

    preflight(lab, options)


def run_night(
    lab: Lab,
    options: Options,
    *,
    brain: Brain | None = None,
    brain_for: BrainFor | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Run a night to its end, or resume the one that was cut off; see nightlab.night.night."""
    from nightlab.night.night import run_night

    return run_night(lab, options, brain=brain, brain_for=brain_for, on_event=on_event)

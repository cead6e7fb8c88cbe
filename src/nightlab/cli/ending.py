"""What the end of a night means to a shell, and who writes its brief."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightlab.night import Result

NEEDS_YOU = 3
BRIEF = "nightlab.morning.brief:write_brief"


def exit_code(result: Result) -> int:
    """0 fine, 1 failed, 3 it needs a person."""
    if result.state == "failed":
        return 1
    return NEEDS_YOU if result.needs_you or result.state == "stopped" else 0

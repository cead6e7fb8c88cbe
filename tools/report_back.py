"""Hand in the report of a delegated piece of work."""

from __future__ import annotations

from typing import Any

from nightlab.night.reports import checked
from nightlab.toolbox import ToolContext, tool


@tool(effect="read", keeps_to_reads=True)
async def report_back(ctx: ToolContext, report: dict[str, Any]) -> dict[str, Any]:
    """Hand in your report: your work ends with it, and nothing else that you say reaches the agent that asked you.

    Args:
        report: The report in the form of your agent; it is checked, and refused with the reason where it does not fit.

    Returns:
        the report as it was handed in.
    """
    return checked(ctx.lab, ctx.agent, report)

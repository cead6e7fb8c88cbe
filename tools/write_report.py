"""Compile the report of an experiment."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.night.reporting import report_experiment
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def write_report(ctx: ToolContext, experiment: str) -> dict[str, Any]:
    """Compile report.md from report.md.j2 and the rows: every number is a query, a typed one is an error with its line.

    Args:
        experiment: The experiment's name; it must have been analysed.

    Returns:
        path of the report.
    """
    folder = ctx.lab.experiment(experiment)
    ctx.in_scope(folder / "report.md")
    name = folder.name
    path = await asyncio.to_thread(report_experiment, ctx.lab, name)
    ctx.events.once(ctx.call_id, "report", experiment=name, path=ctx.lab.relative(path))
    return {"path": ctx.lab.relative(path)}

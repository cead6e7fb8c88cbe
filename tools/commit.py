"""Commit what the night wrote."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.night.publish import commit_paths
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def commit(ctx: ToolContext, experiment: str, message: str) -> dict[str, Any]:
    """Commit an experiment with the research state, the diary and the notes. Large files are kept by hash only.

    An agent that works for another one commits the experiment's folder alone.

    Args:
        experiment: The experiment's name.
        message: What was found or done, in the first line; details below it.

    Returns:
        commit, its hash, or null where nothing changed.
    """
    folder = ctx.lab.experiment(experiment)
    ctx.in_scope(folder / "report.md")
    paths = [folder]
    if ctx.leads:
        paths += [ctx.lab.state_file, ctx.lab.diary, ctx.lab.servers, ctx.lab.notes]
    sha = await asyncio.to_thread(
        commit_paths, ctx.lab, ctx.events, ctx.night, paths, message, key=ctx.call_id, experiment=folder.name
    )
    return {"commit": sha}

"""Wait for work under way."""

from __future__ import annotations

import time
from typing import Any

from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="read")
async def wait(ctx: ToolContext, handles: list[str], minutes: float = 10.0) -> dict[str, Any]:
    """Wait until any of the named works ends, or the time is up. Costs nothing while it waits; never poll instead.

    Args:
        handles: Handles that start_server, run_sweep, run_judges or train_adapter returned.
        minutes: How long to wait at most; the night's deadline ends it earlier.

    Returns:
        works: for each handle its state (running, done, failed) with its result or its error (class, what, next).
    """
    if not handles:
        raise ToolFailure("bad_argument", "no handle to wait for", "give the handles of works under way")
    for handle in handles:
        _in_scope(ctx, handle)
    left = ctx.budget.seconds_left()
    seconds = max(0.0, min(60 * minutes, left if left is not None else 60 * minutes))
    ctx.events.once(f"{ctx.call_id}/waiting", "waiting", call=ctx.call_id, handles=handles, seconds=round(seconds))
    began = time.monotonic()
    works = await ctx.works.wait(handles, seconds)
    news = [work["handle"] for work in works if work["state"] != "running"]
    waited = round(time.monotonic() - began, 2)
    ctx.events.once(f"{ctx.call_id}/woke", "woke", call=ctx.call_id, news=news, waited=waited)
    return {"works": works}


def _in_scope(ctx: ToolContext, handle: str) -> None:
    """Work that a killed process left is started again by waiting for it: so waiting needs the scope of that work."""
    kind, *names = handle.split(":")
    if kind == "train" and names:
        ctx.in_scope(ctx.lab.trained / names[0] / "recipe.yaml")
    if kind in ("sweep", "judges") and names:
        ctx.in_scope(ctx.lab.experiments / names[0] / ("samples.jsonl" if kind == "sweep" else "judgments.jsonl"))
    elif kind != "train" and not ctx.agent.writes:
        raise ToolFailure("not_allowed", f"{ctx.agent.name} has no work to wait for", "do without it")

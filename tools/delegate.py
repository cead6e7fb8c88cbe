"""Let another agent do a piece of work."""

from __future__ import annotations

from typing import Any

from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="money")
async def delegate(ctx: ToolContext, agent: str, brief: str, inputs: list[str]) -> dict[str, Any]:
    """Give a piece of work to another agent, which has its own conversation, and wait for its report.

    - scientist: runs one experiment from plan to report. Inputs: the experiment.
    - debugger: finds why something failed and tries remedies. Inputs: the failed server, the experiment.
    - colleague: fresh eyes on a plan, a report or a claim; knows nothing and sees only the files listed.

    Several calls in one turn run side by side. The work is done when the report is here; check what you build on.

    Args:
        agent: The agent's name.
        brief: All that the agent needs to know and to deliver; it sees nothing of this conversation.
        inputs: What it works on: paths of files, the experiment, ids of servers.

    Returns:
        agent, watch (its transcript), report in the agent's form, turns and usd it took.
    """
    if not ctx.leads:
        raise ToolFailure("no_recursion", f"{ctx.agent.name} works for another agent", "do it yourself, or report back")
    if ctx.staff is None:
        raise ToolFailure("no_staff", "there is no other agent here", "do it yourself")
    return await ctx.staff.delegate(ctx, agent, brief, inputs)

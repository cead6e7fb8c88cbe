"""End the night."""

from __future__ import annotations

from typing import Any

from nightlab.record.state import ResearchState
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="write")
async def end_night(ctx: ToolContext, reason: str, even_if_open: bool = False) -> dict[str, Any]:
    """End the night: what is unreported is reported, servers are freed, and the record is committed by code.

    It is refused while the queue has open items, unless even_if_open says that nothing more can be done about them.

    Args:
        reason: Why, in one sentence; it stands in the brief.
        even_if_open: End although experiments of the queue are open or partial.

    Returns:
        why: the reason as it was recorded.
    """
    if not ctx.leads:
        raise ToolFailure("not_allowed", f"{ctx.agent.name} does not lead this night", "report back instead")
    queue = ResearchState(ctx.lab.state_file).queue()
    still = [item.experiment for item in queue if item.status in ("open", "partial")]
    if still and not even_if_open:
        raise ToolFailure(
            "queue_open", f"still in the queue: {', '.join(still)}", "go on with them, or say even_if_open: true"
        )
    why = " ".join(reason.split())[:400] or "the agent ended the night"
    ctx.events.once(f"{ctx.night}/wrap-up", "wrap_up", why=why, open=still)
    return {"why": why, "open": still}

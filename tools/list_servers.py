"""List the model servers of the lab."""

from __future__ import annotations

from typing import Any

from nightlab.night.situation import server_row
from nightlab.servers.manifest import list_servers as manifests
from nightlab.toolbox import ToolContext, tool


@tool(effect="read")
async def list_servers(ctx: ToolContext, all_states: bool = False) -> dict[str, Any]:
    """List the model servers of the lab.

    Args:
        all_states: Also those that were stopped or failed.

    Returns:
        servers: each with server, model, model_id, state, failure, night and the conditions it serves.
    """
    shown = [m for m in manifests(ctx.lab) if all_states or m.lives]
    return {"servers": [server_row(m) | {"conditions": sorted(m.conditions)} for m in shown]}

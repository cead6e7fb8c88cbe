"""Stop a model server."""

from __future__ import annotations

from typing import Any

from nightlab.compute import open_place
from nightlab.servers.manifest import load
from nightlab.servers.server import Server
from nightlab.toolbox import ToolContext, tool


@tool(effect="compute")
async def stop_server(ctx: ToolContext, server: str) -> dict[str, Any]:
    """Stop a model server and free what it used. Stop each one as soon as its cells are answered.

    Args:
        server: The server's id, from start_server or list_servers.

    Returns:
        server and state, the state it is in now.
    """
    one = Server.attach(ctx.lab, open_place(ctx.lab, load(ctx.lab, server).place), server)
    await one.stop(ctx.events)
    return {"server": server, "state": one.manifest.state}

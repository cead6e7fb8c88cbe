"""Stop a model server."""

from __future__ import annotations

from typing import Any

from nightlab.compute import open_place
from nightlab.servers.leases import seconds_of
from nightlab.servers.manifest import Manifest, load
from nightlab.servers.server import Server
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="compute")
async def stop_server(ctx: ToolContext, server: str, keep: str | None = None) -> dict[str, Any]:
    """Stop a model server and free what it used. Stop each one as soon as its cells are answered.

    Args:
        server: The server's id, from start_server or list_servers.
        keep: A span such as 2h: it is not stopped now, and the end of the night leaves it running so long for the
            next one. It holds its GPU meanwhile, so keep only what the next night needs at once.

    Returns:
        server; state, the state it is in now; kept_seconds, how long the end of the night leaves it.
    """
    manifest = load(ctx.lab, server)
    _check_owner(ctx, manifest)
    one = Server.attach(ctx.lab, open_place(ctx.lab, manifest.place), server)
    if keep is None:
        await one.stop(ctx.events)
    elif manifest.state != "ready":
        raise ToolFailure("not_ready", f"{server} is {manifest.state}", "only a proven server can be kept")
    else:
        one.note(keep_seconds=seconds_of(keep))
    kept = one.manifest.keep_seconds if one.manifest.state == "ready" else 0
    return {"server": server, "state": one.manifest.state, "kept_seconds": kept}


def _check_owner(ctx: ToolContext, manifest: Manifest) -> None:
    """An agent that works for another one stops what it started, or was given; the one that leads stops any."""
    started = {row.get("call") for row in ctx.events.read() if row.get("watch") == ctx.watch}
    if not ctx.leads and manifest.key not in started and manifest.id not in ctx.given:
        what = f"{manifest.id} was not started by {ctx.agent.name}"
        raise ToolFailure("not_allowed", what, "name it in your report, with the reason to stop it")

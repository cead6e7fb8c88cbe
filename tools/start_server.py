"""Start a model server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from nightlab.compute import open_place
from nightlab.experiments.plan import Plan
from nightlab.night.serving import wanted
from nightlab.servers.leases import seconds_of
from nightlab.servers.server import Server
from nightlab.toolbox import ToolContext, tool


@tool(effect="compute")
async def start_server(
    ctx: ToolContext, experiment: str, model: str, port: int | None = None, keep: str | None = None
) -> dict[str, Any]:
    """Start the server of one model of an experiment, with the adapters of all its conditions. Returns at once.

    `wait` for the handle: the server is proven before it counts (its identity, a completion, and a canary that shows
    that each adapter acts). A start that fails for a reason that is ours to mend is healed by code, in bounded steps
    (events server_healing), with what earlier starts taught (state/learned.yaml). Start the servers of several models
    in one turn.

    Args:
        experiment: The experiment's name.
        model: The short name of a model of its plan.
        port: A port to ask for; 0 takes a free one. Left out, the plan's own `serving.port` counts.
        keep: A span such as 2h: the end of the night leaves it running so long for the next one. Left out, the
            plan's own `serving.keep` counts.

    Returns:
        server, its id; handle, to wait for; port.
    """
    plan = Plan.load(ctx.lab.experiment(experiment))
    ctx.in_scope(plan.folder / "config.yaml")
    chosen = plan.model(model)
    asked = port if port is not None else _planned_port(plan, model)
    place = open_place(ctx.lab, ctx.lab.config.place)
    want = await asyncio.to_thread(wanted, ctx.lab, plan, chosen)
    if keep is not None:
        want = replace(want, keep_seconds=seconds_of(keep))
    server = await Server.launch(ctx.lab, place, want, key=ctx.call_id, night=ctx.night, port=asked)
    handle = f"server:{server.manifest.id}"
    ctx.works.ensure(handle)
    return {"server": server.manifest.id, "handle": handle, "port": server.manifest.port}


def _planned_port(plan: Plan, model: str) -> int:
    """The port that the plan gives a model: the plan's own and those above it, in the order of the models."""
    names = [one.name for one in plan.models]
    return plan.serving.port + names.index(model) if plan.serving.port else 0

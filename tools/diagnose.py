"""Say why a model server, or its share of a sweep, failed."""

from __future__ import annotations

from typing import Any

from nightlab.compute import open_place
from nightlab.servers.failures import Diagnosis, catalogue, diagnose_log, explain
from nightlab.servers.manifest import Manifest, load
from nightlab.servers.server import Server
from nightlab.toolbox import ToolContext, tool

# What code can do about a failure by itself: the tool to call, and with what.
_REMEDIES: dict[str, dict[str, Any]] = {
    "other_port": {"tool": "start_server", "arguments": {"port": 0}},
    "restart": {"tool": "start_server", "arguments": {"port": 0}},
    "load_adapter": {"tool": "start_server", "arguments": {"port": 0}},
}


@tool(effect="read")
async def diagnose(ctx: ToolContext, server: str) -> dict[str, Any]:
    """Name the root cause of a server's failure from its record and its log, and the remedy where one is known.

    Args:
        server: The server's id.

    Returns:
        class (null where nothing known was found), cause, line (of the log, as data), confidence, stage, steps, whose
        it is to mend (ours or a human's), and remedy: the tool call that follows it, or null.
    """
    manifest = load(ctx.lab, server)
    found = _diagnosis(ctx, manifest)
    remedy = _REMEDIES.get(found.action) if found.whose == "ours" else None
    return {
        "server": server,
        "model": manifest.model,
        "class": found.cls,
        "cause": found.cause,
        "line": found.line,
        "confidence": found.confidence,
        "stage": found.stage,
        "steps": list(found.remedy),
        "whose": found.whose,
        "remedy": remedy,
    }


def _diagnosis(ctx: ToolContext, manifest: Manifest) -> Diagnosis:
    """The recorded class with the log's line, else what the log says, else whether the process is gone."""
    log = ctx.lab.root / manifest.log if manifest.log else None
    read = diagnose_log(log) if log else None
    if manifest.failure in catalogue():
        recorded = explain(manifest.failure, read.line if read and read.cls == manifest.failure else "")
        return read if read and read.cls == manifest.failure else recorded
    if read and read.cls is not None:
        return read
    place = open_place(ctx.lab, manifest.place)
    if manifest.state in ("starting", "ready") and not Server(ctx.lab, place, manifest).alive():
        return explain("server_lost")
    return read or explain("no_answer")

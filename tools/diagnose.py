"""Say why a model server, or its share of a sweep, failed."""

from __future__ import annotations

from typing import Any

from nightlab.night.failure_packet import diagnosis, reached
from nightlab.servers.failures import question
from nightlab.servers.manifest import load
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
        class (null where nothing known was found), cause, line (of the log, as data) with its number and context,
        confidence, stage, reached: how far its start came, steps, whose it is to mend (ours or a human's), healed: the
        steps that code took already, question: what only a person can answer, and remedy: the tool call that follows
        it, or null. A class of null is a case for the debugger.
    """
    manifest = load(ctx.lab, server)
    found = diagnosis(ctx.lab, manifest)
    remedy = _REMEDIES.get(found.action) if found.whose == "ours" else None
    return {
        "server": server,
        "model": manifest.model,
        "class": found.cls,
        "cause": found.cause,
        "line": found.line,
        "number": found.number,
        "context": list(found.context),
        "confidence": found.confidence,
        "stage": found.stage,
        "reached": reached(ctx.lab, manifest),
        "steps": list(found.remedy),
        "whose": found.whose,
        "healed": [step["step"] for step in manifest.healed],
        "question": question(found.ladder),
        "remedy": remedy,
    }

"""Propose a new entry of the catalogue of known failures."""

from __future__ import annotations

from typing import Any, Literal

import yaml

from nightlab import proposals
from nightlab.files import now
from nightlab.record.notes import add_note
from nightlab.secrets import Redactor
from nightlab.servers.failures import read_log
from nightlab.servers.manifest import load
from nightlab.toolbox import ToolContext, ToolFailure, tool

_KEPT = 30_000  # characters of the log that are kept as the entry's test: its end, where it is longer


@tool(effect="write")
async def propose_failure(
    ctx: ToolContext,
    name: str,
    server: str,
    pattern: str,
    cause: str,
    remedy: list[str],
    whose: Literal["ours", "human"],
    why: str,
) -> dict[str, Any]:
    """Propose a failure that diagnose does not know yet, with the log of the server that failed so as its test.

    Only for a cause that you confirmed. It is tried out at once: the pattern must name this log, and none of a server
    that was well. It becomes active when a person accepts it.

    Args:
        name: The class, as diagnose would name it: lowercase_with_underscores.
        server: The id of the server whose log shows it.
        pattern: A Python regular expression that fits the line of the root cause, not of a wrapper.
        cause: What it means, in one sentence.
        remedy: What to do, one step each.
        whose: ours, where code or an agent can mend it; human, where only a person can.
        why: How the cause was confirmed, in a sentence or two.

    Returns:
        path of the proposal, target: where it would stand.
    """
    proposals.check_name("failure", name)
    path, _ = proposals.place(ctx.lab, "failure", name)
    for written in (path, path.with_name("log.txt"), path.with_name("proposal.json"), ctx.lab.notes):
        ctx.writable(ctx.lab.relative(written))
    reason = " ".join(why.split())[:600]
    entry = {
        "re": pattern,
        "fatal": True,
        "cause": cause,
        "remedy": remedy,
        "whose": whose,
        "action": "restart" if whose == "ours" else "ask",
        "source": f"night {ctx.night}, server {server}",
    }
    about = {"kind": "failure", "name": name, "why": reason, "agent": ctx.agent.name, "night": ctx.night, "t": now()}
    text = yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True, width=110)
    made = proposals.write(ctx.lab, "failure", name, text, about, log=_log(ctx, server))
    shown = ctx.lab.relative(made.path)
    add_note(ctx.lab, ctx.night, f"the failure {name} is proposed in {shown}: {reason}", ctx.call_id)
    ctx.events.once(ctx.call_id, "proposal", what=f"failure {name}", why=reason, agent=ctx.agent.name, path=shown)
    return {"path": shown, "target": made.target}


def _log(ctx: ToolContext, server: str) -> str:
    """The end of a server's log, without secrets."""
    manifest = load(ctx.lab, server)
    text = read_log(ctx.lab.root / manifest.log) if manifest.log else ""
    if not text.strip():
        raise ToolFailure("no_log", f"the server {server} left no log", "name the server whose log shows the failure")
    return Redactor().text(text[-_KEPT:])

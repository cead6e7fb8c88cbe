"""Propose a new skill or tool."""

from __future__ import annotations

from typing import Any, Literal

from nightlab import proposals
from nightlab.files import now
from nightlab.record.notes import add_note
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def propose(ctx: ToolContext, kind: Literal["skill", "tool"], name: str, text: str, why: str) -> dict[str, Any]:
    """Propose a skill or a tool, new or better than the one there is. It is checked, kept apart, and not used tonight.

    It becomes active when a person accepts it. A skill is a SKILL.md: front matter with name and description, then the
    text. A tool is one file like those in tools/: one async function under @tool, typed, with a docstring.

    Args:
        kind: skill or tool.
        name: Its name, as its folder or file would be called.
        text: The whole file.
        why: What happened that it would have helped with, in a sentence or two.

    Returns:
        path of the proposal, target: where it would stand.
    """
    for path in (*_paths(ctx, kind, name), ctx.lab.notes):
        ctx.writable(ctx.lab.relative(path))
    reason = " ".join(why.split())[:600]
    about = {"kind": kind, "name": name, "why": reason, "agent": ctx.agent.name, "night": ctx.night, "t": now()}
    made = proposals.write(ctx.lab, kind, name, text, about)
    path = ctx.lab.relative(made.path)
    add_note(ctx.lab, ctx.night, f"{kind} {name} is proposed in {path}: {reason}", ctx.call_id)
    ctx.events.once(ctx.call_id, "proposal", what=f"{kind} {name}", why=reason, agent=ctx.agent.name, path=path)
    return {"path": path, "target": made.target}


def _paths(ctx: ToolContext, kind: Literal["skill", "tool"], name: str) -> list[Any]:
    """The files that a proposal writes; a name that is none fails its check, before anything is written."""
    proposals.check_name(kind, name)
    path, _ = proposals.place(ctx.lab, kind, name)
    return [path, path.with_name("proposal.json")]

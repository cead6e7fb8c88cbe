"""Read a skill."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from nightlab.errors import SpecError, nearest
from nightlab.files import read_text
from nightlab.lab import look_up, look_up_all
from nightlab.skills import Skill
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="read", keeps_to_reads=True)
async def read_skill(ctx: ToolContext, name: str, file: str = "") -> dict[str, Any]:
    """Read a skill of yours: how we do a kind of work here. Read it when that work comes up, before you begin.

    Args:
        name: The skill's name.
        file: A file beside the skill's text, from `files`; left out, the text itself.

    Returns:
        name, text, and files: what else the skill has.
    """
    if name not in ctx.agent.skills:
        close = nearest(name, ctx.agent.skills)
        known = f"your skills: {', '.join(ctx.agent.skills) or 'none'}"
        raise ToolFailure("unknown_skill", f"{name!r} is no skill of yours", f"read {close}" if close else known)
    beside = [str(PurePosixPath(key).relative_to(name)) for key in look_up_all(ctx.lab, "skills", f"{name}/**/*")]
    files = [one for one in beside if one != "SKILL.md"]
    if not file:
        return {"name": name, "text": Skill.load(ctx.lab, name).body, "files": files}
    if file not in files:
        raise ToolFailure("file_not_found", f"{name} has no {file}", f"it has {', '.join(files) or 'no other file'}")
    return {
        "name": name,
        "text": read_text(look_up(ctx.lab, "skills", f"{name}/{file}").path, SpecError),
        "files": files,
    }

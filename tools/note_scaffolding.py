"""Add a note on the harness itself."""

from __future__ import annotations

from typing import Any

from nightlab.files import write_atomic
from nightlab.toolbox import ToolContext, ToolFailure, tool

LONGEST = 1000


@tool(effect="write")
async def note_scaffolding(ctx: ToolContext, note: str) -> dict[str, Any]:
    """Append one lesson about the harness (not about the research) to scaffolding_notes.md.

    Args:
        note: What was learned, in a sentence or two: what happened, and what works.

    Returns:
        path and note as it was written.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.notes))
    text = " ".join(note.split())[:LONGEST].replace("<", "&lt;")
    if not text:
        raise ToolFailure("bad_argument", "the note is empty", "say what was learned")
    mark = f"<!-- {ctx.call_id} -->"
    old = ctx.lab.notes.read_text("utf-8") if ctx.lab.notes.is_file() else "# Scaffolding notes\n"
    if mark not in old:
        day = ctx.night[:8]
        line = f"- {day[:4]}-{day[4:6]}-{day[6:8]}: {text} {mark}\n"
        write_atomic(ctx.lab.notes, old + ("" if old.endswith("\n") else "\n") + line)
    return {"path": ctx.lab.relative(ctx.lab.notes), "note": text}

"""Add a note on the harness itself."""

from __future__ import annotations

from typing import Any

from nightlab.files import write_atomic
from nightlab.record import markdown
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
    day = f"{ctx.night[:4]}-{ctx.night[4:6]}-{ctx.night[6:8]}"
    with markdown.alone(ctx.lab.notes):
        rows = markdown.read(ctx.lab.notes) or ["# Scaffolding notes\n"]
        if not any(mark in row for row in rows):
            write_atomic(ctx.lab.notes, "".join(markdown.insert(rows, len(rows), [f"- {day}: {text} {mark}"])))
    return {"path": ctx.lab.relative(ctx.lab.notes), "note": text}

"""Add a note on the harness itself."""

from __future__ import annotations

from typing import Any

from nightlab.record.notes import add_note
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="write")
async def note_scaffolding(ctx: ToolContext, note: str) -> dict[str, Any]:
    """Append one lesson about the harness (not about the research) to scaffolding_notes.md.

    Args:
        note: What was learned, in a sentence or two: what happened, and what works.

    Returns:
        path and note as it was written.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.notes))
    text = add_note(ctx.lab, ctx.night, note, ctx.call_id)
    if not text:
        raise ToolFailure("bad_argument", "the note is empty", "say what was learned")
    return {"path": ctx.lab.relative(ctx.lab.notes), "note": text}

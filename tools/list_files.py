"""List a folder of the lab."""

from __future__ import annotations

from typing import Any

from nightlab.toolbox import ToolContext, ToolFailure, tool

MAX_ENTRIES = 200
HIDDEN = {".git", ".nightlab", "__pycache__", ".venv"}


@tool(effect="read", keeps_to_reads=True)
async def list_files(ctx: ToolContext, path: str = ".", pattern: str = "*") -> dict[str, Any]:
    """List the files and folders in a folder of the lab.

    Args:
        path: The folder, relative to the lab's root.
        pattern: A glob; `**/*.yaml` looks into all folders below.

    Returns:
        path, entries (each with name and bytes; a folder's name ends with /), and left_out, the number not shown.
    """
    place = ctx.inside(path)
    if not place.is_dir():
        raise ToolFailure("folder_not_found", f"{path} is no folder", "look at its parent")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise ToolFailure("outside_lab", f"the pattern {pattern} leaves the folder", "give a glob below the folder")
    found = sorted(p for p in place.glob(pattern) if not HIDDEN & set(p.relative_to(place).parts))
    if ctx.reads is not None:
        found = [p for p in found if p.resolve() in ctx.reads]
    entries = [
        {
            "name": f"{p.relative_to(place)}{'/' if p.is_dir() else ''}",
            "bytes": p.lstat().st_size if p.is_file() else None,
        }
        for p in found[:MAX_ENTRIES]
    ]
    return {"path": path, "entries": entries, "left_out": max(0, len(found) - MAX_ENTRIES)}

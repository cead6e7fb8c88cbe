"""Search the lab's text files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightlab.toolbox import ToolContext, ToolFailure, tool

MAX_HITS = 60
MAX_BYTES = 5_000_000
LONGEST = 240
HIDDEN = {".git", ".nightlab", "__pycache__", ".venv"}


@tool(effect="read", keeps_to_reads=True)
async def search_text(ctx: ToolContext, text: str, path: str = ".", ignore_case: bool = True) -> dict[str, Any]:
    """Find a text (no pattern language) in the files of the lab.

    Args:
        text: What to look for, in one line.
        path: A folder or file to search, relative to the lab's root.
        ignore_case: Whether capitals matter not.

    Returns:
        hits (each with path, line number and the line, cut at 240 characters) and more, whether there are further ones.
    """
    if not text.strip():
        raise ToolFailure("bad_argument", "nothing to look for", "give a text")
    place = ctx.inside(path)
    if not place.exists():
        raise ToolFailure("file_not_found", f"{path} does not exist", "look with list_files")
    wanted = re.compile(re.escape(text), re.IGNORECASE if ignore_case else 0)
    hits = await asyncio.to_thread(_search, ctx, place, wanted)
    return {"hits": hits[:MAX_HITS], "more": len(hits) > MAX_HITS}


def _search(ctx: ToolContext, place: Path, wanted: re.Pattern[str]) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = []
    for file in filter(ctx.may_read, _files(place)):
        lines = file.read_bytes().decode("utf-8", "replace").splitlines()
        for number, line in enumerate(lines, 1):
            if wanted.search(line):
                hits.append({"path": str(file.relative_to(ctx.lab.root)), "line": number, "text": line[:LONGEST]})
                if len(hits) > MAX_HITS:
                    return hits
    return hits


def _files(place: Path) -> Iterator[Path]:
    """The readable text files at or below a place; links are not followed."""
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    for file in found:
        inner = file.relative_to(place).parts
        if file.is_symlink() or not file.is_file() or HIDDEN & set(inner) or file.stat().st_size > MAX_BYTES:
            continue
        with file.open("rb") as source:
            if b"\0" not in source.read(4000):
                yield file

"""Python code as an audit reads it: scripts, and the code cells of notebooks, parsed and never run."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def trees(paths: Iterable[Path]) -> Iterator[tuple[Path, ast.Module]]:
    """The syntax tree of every script or notebook that parses; the line of a notebook counts its code lines."""
    for path in paths:
        try:
            yield path, ast.parse(source(path))
        except (SyntaxError, ValueError):
            continue  # a check of code says nothing about what is no code


def source(path: Path) -> str:
    """The code of a file; lines of a notebook that are no Python (`%`, `!`) are comments."""
    text = path.read_text("utf-8", "replace")
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text).get("cells", []) if cell.get("cell_type") == "code"]
    lines = [line for cell in cells for line in "".join(cell.get("source", [])).splitlines()]
    return "\n".join(f"# {line}" if line.lstrip().startswith(("%", "!")) else line for line in lines)

"""The scaffolding notes: lessons about the harness, one line each, added by nights and curated by people."""

from __future__ import annotations

from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.record import markdown

LONGEST = 1000


def add_note(lab: Lab, night: str, text: str, key: str) -> str:
    """Append one line, once for a key; the text as it was written, "" where there is none."""
    line = " ".join(text.split())[:LONGEST].replace("<", "&lt;")
    mark, day = f"<!-- {key} -->", f"{night[:4]}-{night[4:6]}-{night[6:8]}"
    with markdown.alone(lab.notes):
        rows = markdown.read(lab.notes) or ["# Scaffolding notes\n"]
        if line and not any(mark in row for row in rows):
            write_atomic(lab.notes, "".join(markdown.insert(rows, len(rows), [f"- {day}: {line} {mark}"])))
    return line

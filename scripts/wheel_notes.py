"""Puts scaffolding_notes.md into the wheel: the `sources` table of the build settings moves folders, not single files.

An editable install reads the file where it is, so it gets no copy that could grow old.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NOTES = "scaffolding_notes.md"


class Notes(BuildHookInterface[Any]):
    """Adds the notes to a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by the builder before it collects files."""
        if version == "standard":
            build_data["force_include"][NOTES] = f"nightlab/_lab/{NOTES}"

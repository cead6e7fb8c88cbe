"""From rows to numbers to sentences, with nothing lost and nothing typed in.

The parts, from the rows up: design, rows, table, stats, predict, queries, claims, figures, report; analyze runs them
all.
"""

from __future__ import annotations

from pathlib import Path


def rebuild(folder: Path) -> list[Path]:
    """Make an experiment's tables, figures, claims and report again from its rows; the files that changed."""
    from nightlab.evidence.reproduce import rebuild as build

    return build(folder)

"""A second look at the treatment, in the answers themselves: an adapter that changes no answer was not applied."""

from __future__ import annotations

from nightlab.evidence.table import Table
from nightlab.experiments.plan import BASE


def untouched(table: Table, model: str) -> bool:
    """Whether every treated answer of a model is word for word that of `base` to the same prompt."""
    plain: dict[tuple[str, int], object] = {}
    treated: list[tuple[tuple[str, int], object]] = []
    for cell, fate in zip(table.cells, table.fates, strict=True):
        if cell.model == model and fate.sample is not None:
            place, text = (cell.prompt, cell.replicate), fate.sample.get("text")
            if cell.condition == BASE:
                plain[place] = text
            else:
                treated.append((place, text))
    pairs = [(plain[place], text) for place, text in treated if place in plain]
    return bool(pairs) and all(before == after for before, after in pairs)

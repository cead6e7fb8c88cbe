"""The query to use instead of a number that somebody typed: the one that gives it, or the one that comes closest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nightlab.evidence.sentences import ask
from nightlab.evidence.table import SCORED

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis


def query_for(typed: str, analysis: Analysis) -> str:
    """A sentence that names the query which gives a number, or the nearest mean where none does."""
    found = re.search(r"\d+(?:[.,]\d+)?", typed)
    means = [mean for mean in analysis.summary.means if mean.estimate.n]
    if found is None or not means:
        return "ask for it with a query, or leave it out"
    value = float(found[0].replace(",", "."))
    if value == int(value) and "." not in found[0] and "," not in found[0]:
        whole = {analysis.table.count(SCORED): ask("judged"), analysis.table.answered(): ask("answered")}
        whole[len(analysis.table.cells)] = ask("planned")
        if int(value) in whole:
            return f"ask for it: {whole[int(value)]}"
    near = min(means, key=lambda mean: abs(mean.estimate.value - value))
    query = ask("mean", near.dimension, model=near.model, condition=near.condition)
    exact = abs(near.estimate.value - value) <= 0.05
    return f"ask for it: {query}" if exact else f"no mean is {found[0]}; the nearest one is {query}"

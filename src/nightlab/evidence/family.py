"""The hypotheses of a plan as one family: which verdicts stand when each is corrected for the others (Holm).

Holm (1979), Scandinavian Journal of Statistics 6(2): of m open hypotheses each is tested at 5 % / m; where some are
decided, the others are tested again at the level that the fewer leave them, until none is decided any more. So the
chance that any hypothesis of the family is wrongly supported is at most 5 %, and that any is wrongly contradicted too.
A plan that says `multiplicity: holm` has no other verdicts; else a verdict that stands alone only is marked as such.
"""

from __future__ import annotations

from dataclasses import replace

from nightlab.evidence.peaks import TEST
from nightlab.evidence.predict import Verdict, evaluate
from nightlab.evidence.table import Table


def evaluate_all(table: Table) -> tuple[Verdict, ...]:
    """The verdict on every frozen hypothesis, in the order of the plan, and whether it stands in the family."""
    alone = tuple(evaluate(hypothesis, table) for hypothesis in table.design.hypotheses)
    stands = _standing(table, alone)
    governs = table.design.config.multiplicity == "holm"
    return tuple(
        verdict if verdict.id in stands or not verdict.decided else _held_back(verdict, len(alone), governs)
        for verdict in alone
    )


def _standing(table: Table, alone: tuple[Verdict, ...]) -> set[str]:
    """The hypotheses that are decided in the family."""
    stands: set[str] = set()
    waiting = [verdict.id for verdict in alone if verdict.decided]
    while waiting:
        test = TEST / (len(alone) - len(stands))
        now = {name for name in waiting if evaluate(table.design.hypothesis(name), table, test).decided}
        stands |= now
        waiting = [name for name in waiting if name not in now] if now else []
    return stands


def _held_back(alone: Verdict, family: int, governs: bool) -> Verdict:
    """A verdict that its own test decides and the family's does not."""
    if governs:
        text = f"{alone.verdict} if it stood alone, not among {family} hypotheses (Holm); {alone.text}"
        return replace(alone, verdict="undecided", text=text, stands=False)
    return replace(alone, text=f"{alone.text}; not decided among {family} hypotheses (Holm)", stands=False)

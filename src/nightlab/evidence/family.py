"""The hypotheses of a plan as one family: the chance that any of their verdicts is wrong is held at 5 %."""

from __future__ import annotations

from dataclasses import replace

from nightlab.evidence.peaks import TEST
from nightlab.evidence.predict import Verdict, evaluate
from nightlab.evidence.table import Table


def evaluate_all(table: Table) -> tuple[Verdict, ...]:
    """The verdict on every frozen hypothesis, in the order of the plan, at an error of 5 % for the whole family.

    Holm (1979), Scandinavian Journal of Statistics 6(2): of m open hypotheses each is tested at 5 % / m; where some are
    decided, the others are tested again at the level that the fewer leave them, until none is decided any more.
    """
    hypotheses = table.design.hypotheses
    if table.design.config.multiplicity == "none":
        return tuple(evaluate(hypothesis, table) for hypothesis in hypotheses)
    alone = {hypothesis.id: evaluate(hypothesis, table) for hypothesis in hypotheses}
    decided: dict[str, Verdict] = {}
    waiting = [hypothesis for hypothesis in hypotheses if alone[hypothesis.id].decided]
    while waiting:
        test = TEST / (len(hypotheses) - len(decided))
        tried = {hypothesis.id: evaluate(hypothesis, table, test) for hypothesis in waiting}
        now = {name: verdict for name, verdict in tried.items() if verdict.decided}
        decided |= now
        waiting = [hypothesis for hypothesis in waiting if hypothesis.id not in now] if now else []
    return tuple(decided.get(h.id) or _held_back(alone[h.id], len(hypotheses)) for h in hypotheses)


def _held_back(alone: Verdict, family: int) -> Verdict:
    """A verdict that its own test decides and the family's does not: it is undecided, and says why."""
    if not alone.decided:
        return alone
    text = f"{alone.verdict} if it stood alone, not among {family} hypotheses (Holm); {alone.text}"
    return replace(alone, verdict="undecided", text=text)

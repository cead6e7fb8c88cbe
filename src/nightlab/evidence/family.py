"""The hypotheses of a plan as one family: which verdicts stand when each is corrected for the others.

`holm`, the default: of m open hypotheses each is tested at 5 % / m; where some are decided, the others are tested again
at the level that the fewer leave them, until none is decided any more (Holm 1979, Scandinavian Journal of Statistics
6(2)). So the chance that any hypothesis of the family is wrongly supported is at most 5 %, and that any is wrongly
contradicted too.

`sequence`: in an order that is frozen with the plan each is tested at 5 %, as long as those before it are decided; the
first that is not ends it (Maurer, Hothorn & Lehmacher 1995; Westfall & Krishen 2001, Journal of Statistical Planning
and Inference 99(1)). It promises the same, but for a quarter of a point where a test decides now one way, now the
other (5 % / 95 %), and costs no power where the sure hypotheses come first.

`none`, with its reason: verdicts are those of single tests, and each that would not survive Holm is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nightlab.evidence.peaks import TEST
from nightlab.evidence.predict import Verdict, evaluate
from nightlab.evidence.table import Table
from nightlab.experiments.schema import Config, InOrder, Uncorrected


def evaluate_all(table: Table) -> tuple[Verdict, ...]:
    """The verdict on every frozen hypothesis, in the order of the plan, and whether it stands in the family."""
    alone = tuple(evaluate(hypothesis, table) for hypothesis in table.design.hypotheses)
    rule = table.design.config.multiplicity
    if isinstance(rule, InOrder):
        reached = _reached(rule.sequence, alone)
        return tuple(v if not v.decided or v.id in reached else _out_of_turn(v, reached[-1]) for v in alone)
    stands = _standing(table, alone)
    governs = not isinstance(rule, Uncorrected)
    return tuple(v if not v.decided or v.id in stands else _held_back(v, len(alone), governs) for v in alone)


def rule_in_words(config: Config) -> str:
    """How the hypotheses of a plan are corrected for one another, as the end of a sentence."""
    match config.multiplicity:
        case InOrder(sequence=order):
            return (
                f"tested in the frozen order {', '.join(order)}, each at the whole 5 % as long as those before it are "
                "decided (Maurer, Hothorn & Lehmacher 1995)"
            )
        case Uncorrected(none=reason):
            return f"not corrected for one another, for the reason that the plan gives: {reason}"
        case _:
            return "corrected for one another (Holm 1979)"


def first_test(config: Config) -> float:
    """The error at which a hypothesis is decided in the family where nothing else helps it."""
    return TEST / max(1, len(config.hypotheses)) if config.multiplicity == "holm" else TEST


def can_still_decide(verdict: Verdict, config: Config) -> bool:
    """Whether more answers to its own cells could decide an undecided hypothesis: not one that waits for its turn."""
    return not verdict.decided and (verdict.stands or not isinstance(config.multiplicity, InOrder))


def _reached(order: Sequence[str], alone: Sequence[Verdict]) -> list[str]:
    """The hypotheses that had their turn: the last one is the first that stayed undecided, if any did."""
    decided = {verdict.id for verdict in alone if verdict.decided}
    last = next((place for place, name in enumerate(order) if name not in decided), len(order) - 1)
    return list(order[: last + 1])


def _standing(table: Table, alone: tuple[Verdict, ...]) -> set[str]:
    """The hypotheses that are decided in the family by Holm's correction."""
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


def _out_of_turn(alone: Verdict, before: str) -> Verdict:
    """A verdict whose turn to be tested did not come."""
    text = (
        f"{alone.verdict} if it stood alone, not after {before}, which is tested before it and undecided; {alone.text}"
    )
    return replace(alone, verdict="undecided", text=text, stands=False)

"""The plan's own judge on three answers of its rehearsal: whether it can be reached, and understands the rubric.

It is paid: the most that it may cost is reserved and said before it is asked. What it says about answers of practice
models is no finding; what counts is that its verdicts are valid. Known items are not mixed in: three answers would not
tell a good judge from a bad one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightlab.budget import Budget, Limits, Reservation
from nightlab.errors import BudgetExceeded, UsageError
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples
from nightlab.judging.blind import check_blind, check_instructions, forbidden_words
from nightlab.judging.judge import Estimate, checked
from nightlab.judging.packet import packets
from nightlab.lab import Lab
from nightlab.night.judges import open_seats

MOST = 3
MARKERS = "markers"


@dataclass(frozen=True)
class Judged:
    """What the judge made of them: answers shown, those with every score, those without one, dollars, and the most."""

    judge: str
    shown: int
    valid: int
    refused: int
    repaired: int
    usd: float
    most_usd: float | None
    scores: tuple[Mapping[str, float | None], ...]

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self) | {"scores": [dict(one) for one in self.scores]}

    def sentence(self) -> str:
        """In words."""
        means = "; ".join(", ".join(f"{name} {_said(score)}" for name, score in one.items()) for one in self.scores)
        more = f", {self.repaired} after a repair" if self.repaired else ""
        more += f", {self.refused} refused" if self.refused else ""
        told = f"{self.judge}: {self.valid} of {self.shown} answers scored{more}, {self.usd:.4f} $"
        return f"{told} ({means or 'no verdict came'})"


def check_judge(lab: Lab, plan: Plan) -> str:
    """The name of the plan's own judge, which can be asked. Raises UsageError, NotSetUp."""
    if plan.judge.by == MARKERS:
        hint = "leave --real-judge away: the rehearsal is judged by markers, too"
        raise UsageError("the plan's own judge is the embedded one", where=plan.folder, hint=hint)

    async def name() -> str:
        async with open_seats(lab, plan, transport="calls") as seats:
            return seats[0].judge.name

    return asyncio.run(name())


def judge_some(lab: Lab, plan: Plan, rehearsed: Path, usd: float, say: Callable[[str], None]) -> Judged:
    """Let the plan's own judge score three answers of the rehearsed experiment in the folder `rehearsed`.

    `say` hears the most that it may cost, before it is asked. Raises BudgetExceeded where that is above `usd`,
    NightlabError where the judge fails.
    """
    with contextlib.closing(Samples(rehearsed)) as samples:
        rows = _three([dict(row) for row in samples.rows()])
    if not rows:
        raise UsageError("the rehearsal has no answer that could be judged", where=rehearsed)
    return asyncio.run(_judged(lab, plan, rehearsed, rows, usd, say))


async def _judged(
    lab: Lab, plan: Plan, rehearsed: Path, rows: list[dict[str, Any]], usd: float, say: Callable[[str], None]
) -> Judged:
    budget = Budget(rehearsed / "real_judge.jsonl", Limits(usd=usd))
    rubric, words = Rubric.load(plan.rubric), forbidden_words(plan)
    sealed = packets(rows, plan.sampling.seed)
    check_blind(sealed, words)
    shown = [one.packet for one in sealed]
    async with open_seats(lab, plan, budget, transport="calls") as seats:
        judge = seats[0].judge
        check_instructions(judge.instructions(rubric), words, where=str(plan.rubric))
        most = judge.estimate(shown, rubric)
        kept = budget.reserve("judge", usd=most.usd, tokens=most.tokens, who="judge")
        say(f"{judge.name} is asked about {len(shown)} answers: at most {kept.amounts.usd:.4f} $ of {usd:g} $")
        repairs: list[Reservation] = []
        scored = await judge.score(shown, rubric, repeat=0, afford=_afford(budget, repairs))
        kept.commit(usd=scored.cost.usd, tokens=scored.cost.tokens)
        for one in repairs:
            one.release()  # the cost of the whole is committed above
    budget.close()
    verdicts = [checked(scored.verdicts[one.id], rubric) for one in shown if one.id in scored.verdicts]
    scores = tuple(dict(verdict.scores) for verdict in verdicts)
    valid = sum(None not in one.values() for one in scores)
    return Judged(
        judge.name, len(shown), valid, scored.refused, scored.repaired, scored.cost.usd, kept.amounts.usd, scores
    )


def _afford(budget: Budget, repairs: list[Reservation]) -> Callable[[Estimate], bool]:
    """Sets money aside for a round of repairs, kept in `repairs`; whether there is enough."""

    def afford(more: Estimate) -> bool:
        try:
            key = f"judge/repair/{len(repairs)}"
            repairs.append(budget.reserve(key, usd=more.usd, tokens=more.tokens, who="judge"))
        except BudgetExceeded:
            return False
        return True

    return afford


def _three(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers of as many conditions as there are, the same at each call."""
    found: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: str(row["key"])):
        if row["condition"] not in {one["condition"] for one in found}:
            found.append(row)
    rest = [row for row in sorted(rows, key=lambda row: str(row["key"])) if row not in found]
    return [*found, *rest][:MOST]


def _said(score: float | None) -> str:
    return "NA" if score is None else f"{score:g}"

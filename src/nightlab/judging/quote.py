"""What a judging would do and the most it may cost, without asking anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples
from nightlab.files import JsonLines
from nightlab.judging.log import JudgeLog, Planned
from nightlab.judging.packet import in_share
from nightlab.judging.rows import FIRST, JUDGMENTS, read_judgments, stands
from nightlab.judging.work import Audited, Seat


@dataclass(frozen=True)
class Quote:
    """Judgments planned and missing, the known items that go with them, and the most in dollars (None: unknown)."""

    planned: int
    missing: int
    known: int
    usd: float | None
    tokens: int


def quote(plan: Plan, seat: Seat) -> Quote:
    """The quote of one judge for what it has not judged of a plan. Raises RubricError, StorageError."""
    rubric = Rubric.load(plan.rubric)
    with contextlib.closing(Samples(plan.folder)) as samples:
        rows = {row["key"]: row for row in samples.rows() if in_share(row["key"], seat.share, plan.sampling.seed)}
    own = (seat.judge.name, rubric.sha)
    made = [row for row in read_judgments(plan.folder) if (row["judge"], row["rubric"]) == own]
    repeats = plan.judge.repeats if seat.role == FIRST else 1
    planned = len(rows) * repeats
    if not seat.judge.audited:
        return Quote(planned, planned - sum(map(stands, made)), 0, 0.0, 0)
    log = JudgeLog(plan.folder)
    store = JsonLines(plan.folder / JUDGMENTS)
    work = Audited(plan, rubric, seat, rows, made, (), store, log, lambda tally: None)
    batches = work.compose(work.missing(repeats))
    most = work.estimate(batches)
    return Quote(planned, len(work.missing(repeats)), _known(batches), most.usd, most.tokens)


def _known(batches: Iterable[Planned]) -> int:
    return sum("key" not in item for batch in batches for item in batch.items)

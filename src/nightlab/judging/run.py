"""Judging: every sample that a judge has not scored yet is scored, blind, in a shuffled order; one line each, kept at
once.

A judgment is named by (cell, judge, repeat, rubric), so judging can be cut off at any instant and called again. A
sample without a judgment is missing and a judgment without a score is not available (NA): neither is ever 0. A judge
that reads is audited (work.py), and begins with a pilot (pilot.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.budget import Budget
from nightlab.errors import FrozenError
from nightlab.events import EventLog
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples, sole_writer
from nightlab.files import JsonLines
from nightlab.judging.blind import Leak, check_blind, check_instructions, forbidden_words
from nightlab.judging.judge import Judge
from nightlab.judging.log import JudgeLog
from nightlab.judging.packet import in_share, packets
from nightlab.judging.pilot import Gate, Pilot, chosen, doubtful, pooled, summarize
from nightlab.judging.plain import Plain
from nightlab.judging.rows import FIRST, JUDGMENTS, read_judgments, stands
from nightlab.judging.telling import Told
from nightlab.judging.work import Audited, Seat, Tally

PASSES = 4
"""How often what had no verdict is asked for again in one judging."""


@dataclass(frozen=True)
class JudgeResult:
    """What became of a judging: judgments planned, made in this run, of all there are without every score, missing.

    `leaks` are the names that stand in the samples' own texts; `rejected` says why batches were; `escalated` counts
    judgments that were rejected as often as is tried; `stopped` says why the judging ended before it was done.
    """

    planned: int
    judged: int
    na: int
    missing: int
    leaks: tuple[Leak, ...] = ()
    rejected: tuple[str, ...] = ()
    escalated: int = 0
    refused: int = 0
    repaired: int = 0
    usd: float = 0.0
    stopped: str = ""


async def run_judges(
    plan: Plan,
    samples: Samples,
    judge: Judge,
    folder: Path,
    events: EventLog | None = None,
    *,
    budget: Budget | None = None,
    concurrency: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
    role: str = FIRST,
    share: float = 1.0,
    gate: Gate | None = None,
    again: bool = False,
) -> JudgeResult:
    """Score all samples that lack a judgment of this judge by the plan's rubric; `on_progress` gets (judged, planned).

    `gate` is shown the pilot of a judge that reads, and says whether to go on. `again` asks once more for what was
    given up, and after a pilot whose reply was to stop. Raises FrozenError where the plan, its rubric or the judge's
    instructions changed, RubricError, BlindnessError, BudgetExceeded, StorageError, BrainFailed, BatchPending; what
    was judged before stays.
    """
    await asyncio.to_thread(verify, plan)  # it may hash gigabytes of weights
    rubric = Rubric.load(plan.rubric)
    words = forbidden_words(plan)
    told = check_instructions(judge.instructions(rubric), words, where=str(plan.rubric))
    seat = Seat(judge, role, share, budget)
    with sole_writer(folder), contextlib.closing(JsonLines(folder / JUDGMENTS)) as store:
        work = _Judging(plan, rubric, seat, folder, samples, words, store, events, on_progress)
        return await work.run(concurrency, gate, again=again, leaks=told)


class _Judging:
    """One call of run_judges."""

    def __init__(
        self,
        plan: Plan,
        rubric: Rubric,
        seat: Seat,
        folder: Path,
        samples: Samples,
        words: Sequence[str],
        store: JsonLines,
        events: EventLog | None,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.plan, self.rubric, self.seat, self.folder = plan, rubric, seat, folder
        self.words, self.store = words, store
        self.rows = [row for row in samples.rows() if in_share(str(row["key"]), seat.share, plan.sampling.seed)]
        self.repeats = plan.judge.repeats if seat.role == FIRST else 1
        self.planned = len(self.rows) * self.repeats
        self.told = Told(events, plan.name, seat.judge.name)
        self._on_progress = on_progress
        own = (seat.judge.name, rubric.sha)
        self.made = [row for row in read_judgments(folder) if (row["judge"], row["rubric"]) == own]
        self.before = [row for row in self.made if stands(row)]
        self._same_protocol()

    def _same_protocol(self) -> None:
        """Judgments by other instructions are by another judge: they are not mixed."""
        protocol = self.seat.judge.protocol
        others = [row for row in self.before if protocol and row.get("protocol") != protocol]
        if others:
            what = f"{len(others)} judgments of {self.seat.judge.name} were made by other instructions or settings"
            hint = "restore agents/judge.md as it was (git log), or judge in a new experiment folder"
            raise FrozenError(what, where=self.folder / JUDGMENTS, hint=hint)

    async def run(self, concurrency: int, gate: Gate | None, *, again: bool, leaks: Sequence[Leak]) -> JudgeResult:
        """Judge what is missing, and tell what came of it; `leaks` are those of the instructions."""
        missing = self.planned - len(self.before)
        leaks = [*leaks, *check_blind(packets(self.rows, self.plan.sampling.seed), self.words)]
        self.told.started(self.planned, missing)
        if self.seat.judge.audited:
            tally, stopped = await self._audited(concurrency, gate, again=again)
        else:
            done = {(row["key"], row["repeat"]) for row in self.before}
            plain = Plain(self.plan, self.rubric, self.seat.judge, self.seat.budget, self.words, self.store, self._kept)
            await plain.run(self.rows, done, concurrency)
            tally, stopped = plain.tally, ""
        result = self._result(tally, missing, leaks, stopped)
        self.told.finished(result, masked=self.plan.judge.mask)
        return result

    async def _audited(self, concurrency: int, gate: Gate | None, *, again: bool) -> tuple[Tally, str]:
        rows = {str(row["key"]): row for row in self.rows}
        with contextlib.closing(JudgeLog(self.folder)) as log:
            work = Audited(self.plan, self.rubric, self.seat, rows, self.made, self.words, self.store, log, self._kept)
            if again:
                work.allow_again(self.repeats)
            await work.run(work.open_batches(), concurrency)
            stopped = (
                "" if await self._pilot(work, concurrency, gate, again=again) else "the reply to the pilot says so"
            )
            for _ in range(0 if stopped else PASSES):
                before = (work.tally.judged, len(work.tally.rejected))
                await work.run(work.compose(work.missing(self.repeats)), concurrency)
                if before == (work.tally.judged, len(work.tally.rejected)) or work.hopeless:
                    break
            work.tally.escalated = work.given_up(self.repeats)
            stopped = stopped or ("too many batches were rejected" if work.hopeless else "")
        return work.tally, stopped

    async def _pilot(self, work: Audited, concurrency: int, gate: Gate | None, *, again: bool) -> bool:
        """Judge some samples of each stratum first and show them; whether the judging may go on.

        What was decided stands; `again` asks anew where that was to stop.
        """
        who = (self.seat.judge.name, self.rubric.sha)
        decided = work.log.gates.get(who) or (who in work.log.gates and not again)
        if decided or self.seat.role != FIRST or not self.plan.judge.pilot:
            return work.log.gates.get(who, True)
        keys = chosen(self.rows, self.plan.judge.pilot, self.plan.sampling.seed)
        if 2 * len(keys) > len(self.rows):
            return True  # the pilot would be most of it
        for _ in range(work.attempts):
            missing = {key for key, repeat in work.missing(1)}
            await work.run(work.compose((key, 0) for key in keys if key in missing), concurrency)
        pilot = self._shown(work, set(keys))
        go_on = await gate(pilot) if gate else True
        work.log.gate(*who, go_on, **pilot.document())
        self.told.pilot(pilot, go_on)
        return go_on

    def _shown(self, work: Audited, keys: set[str]) -> Pilot:
        judged = [row for row in read_judgments(self.folder) if row["key"] in keys and self._own(row)]
        rest = work.estimate(work.compose(work.missing(self.repeats)))
        return Pilot(
            self.plan.name,
            self.seat.judge.name,
            summarize({str(row["key"]): row for row in self.rows}, judged),
            pooled(judged),
            len(judged),
            work.tally.refused,
            tuple(work.tally.rejected),
            doubtful(judged),
            work.tally.usd,
            rest,
        )

    def _own(self, row: dict[str, Any]) -> bool:
        return stands(row) and (row["judge"], row["rubric"]) == (self.seat.judge.name, self.rubric.sha)

    def _kept(self, tally: Tally) -> None:
        if self._on_progress:
            self._on_progress(len(self.before) + tally.judged, self.planned)

    def _result(self, tally: Tally, missing: int, leaks: Sequence[Leak], stopped: str) -> JudgeResult:
        na = sum(None in row["scores"].values() for row in self.before) + tally.na
        return JudgeResult(
            self.planned,
            tally.judged,
            na,
            missing - tally.judged,
            tuple(leaks),
            tuple(tally.rejected),
            len(tally.escalated),
            tally.refused,
            tally.repaired,
            tally.usd,
            stopped,
        )

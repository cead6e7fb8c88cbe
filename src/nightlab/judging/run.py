"""Judging: every sample that a judge has not scored yet is scored, blind, in a shuffled order; one line each, kept at
once.

A judgment is named by (cell, judge, repeat, rubric), so judging can be cut off at any instant and called again. A
sample without a judgment is missing and a judgment without a score is not available (NA): neither is ever 0.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightlab.budget import Budget
from nightlab.events import EventLog
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples, Writer, sole_writer
from nightlab.files import JsonLines, now, sha256_text
from nightlab.judging.judge import Judge, Scored, checked
from nightlab.judging.packet import Leak, Sealed, check_blind, forbidden_words, packets
from nightlab.judging.rows import JUDGMENTS, read_judgments, stands


@dataclass(frozen=True)
class JudgeResult:
    """What became of a judging: judgments planned, made in this run, of all there are without every score, missing.

    `leaks` are the names that stand in the samples' own texts, where a judge could read them.
    """

    planned: int
    judged: int
    na: int
    missing: int
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class _Batch:
    repeat: int
    sealed: Sequence[Sealed]

    @property
    def id(self) -> str:
        """Names the batch in its judgments and in the ledger: the same packets have the same one."""
        names = ",".join(one.packet.id for one in self.sealed)
        return f"b-{sha256_text(f'{self.repeat}:{names}')[:16]}"


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
) -> JudgeResult:
    """Score all samples that lack a judgment of this judge by the plan's rubric; `on_progress` gets (judged, planned).

    Raises FrozenError where the plan or its rubric changed, RubricError, BlindnessError, BudgetExceeded, StorageError;
    what was judged before stays.
    """
    await asyncio.to_thread(verify, plan)  # it may hash gigabytes of weights
    rubric = Rubric.load(plan.rubric)
    with sole_writer(folder):
        rows = list(samples.rows())
        planned = len(rows) * plan.judge.repeats
        made = list(_made(folder, judge, rubric))
        done = {(row["key"], row["repeat"]) for row in made}
        work = _Judging(plan.name, judge, rubric, budget, planned, len(done), on_progress)
        work.na = sum(None in row["scores"].values() for row in made)
        _emit(events, "judging_started", plan, judge=judge.name, planned=planned, missing=planned - len(done))
        batches, found = _batches(plan, rows, done, judge.batch)
        store = JsonLines(folder / JUDGMENTS)
        try:
            async with Writer(store) as writer:
                await work.run(batches, writer, concurrency)
        finally:
            store.close()
    result = JudgeResult(planned, work.judged, work.na, planned - len(done) - work.judged, tuple(found))
    _finish(events, plan, judge, result)
    return result


def _made(folder: Path, judge: Judge, rubric: Rubric) -> Iterator[dict[str, Any]]:
    """The judgments there are by this judge and this rubric."""
    own = (judge.name, rubric.sha)
    return (row for row in read_judgments(folder) if stands(row) and (row["judge"], row["rubric"]) == own)


def _batches(
    plan: Plan, rows: list[dict[str, Any]], done: set[tuple[str, int]], size: int
) -> tuple[list[_Batch], list[Leak]]:
    """What is still to be judged, in the order of each repeat, and the leaks in the texts of all rows."""
    found: list[Leak] = []
    batches: list[_Batch] = []
    words = forbidden_words(plan)
    for repeat in range(plan.judge.repeats):
        sealed = packets(rows, plan.sampling.seed, repeat)
        leaks = check_blind(sealed, words)
        found += leaks if repeat == 0 else []
        left = [one for one in sealed if (one.key, repeat) not in done]
        batches += [_Batch(repeat, left[at : at + size]) for at in range(0, len(left), size)]
    return batches, found


class _Judging:
    """The batches of one judging, and what became of them."""

    def __init__(
        self,
        experiment: str,
        judge: Judge,
        rubric: Rubric,
        budget: Budget | None,
        planned: int,
        before: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.judged = self.na = 0
        self._experiment, self._judge, self._rubric, self._budget = experiment, judge, rubric, budget
        self._planned, self._before, self._on_progress = planned, before, on_progress

    async def run(self, batches: list[_Batch], writer: Writer, concurrency: int) -> None:
        """Score all batches, `concurrency` at a time; the first error ends it when the running ones are cancelled."""
        waiting = iter(batches)

        async def work() -> None:
            for batch in waiting:
                self._keep(batch, await self._score(batch), writer)

        tasks = [asyncio.create_task(work()) for _ in itertools.islice(batches, concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _score(self, batch: _Batch) -> Scored:
        shown = [one.packet for one in batch.sealed]
        estimate = self._judge.estimate(shown, self._rubric)
        if self._budget is None or estimate.free:
            return await self._judge.score(shown, self._rubric, repeat=batch.repeat)
        key = f"judge:{self._experiment}:{self._judge.name}:{self._rubric.sha}:{batch.id}"
        held = self._budget.reserve(self._budget.fresh(key), usd=estimate.usd, tokens=estimate.tokens, who="judge")
        scored = await self._judge.score(shown, self._rubric, repeat=batch.repeat)
        held.commit(**asdict(scored.cost))
        return scored

    def _keep(self, batch: _Batch, scored: Scored, writer: Writer) -> None:
        for one in batch.sealed:
            verdict = scored.verdicts.get(one.packet.id)
            if verdict is None:
                continue
            verdict = checked(verdict, self._rubric)
            writer.put(
                {
                    "key": one.key,
                    "judge": self._judge.name,
                    "repeat": batch.repeat,
                    "scores": dict(verdict.scores),
                    "notes": dict(verdict.notes),
                    "rubric": self._rubric.sha,
                    "batch": batch.id,
                    "packet": one.packet.sha,
                    "position": one.position,
                    "t": now(),
                }
            )
            self.judged += 1
            self.na += any(score is None for score in verdict.scores.values())
        if self._on_progress:
            self._on_progress(self._before + self.judged, self._planned)


def _finish(events: EventLog | None, plan: Plan, judge: Judge, result: JudgeResult) -> None:
    if result.missing:
        what = f"{result.missing} of {result.planned} judgments are missing"
        _emit(events, "degradation", plan, what=what, why=f"{judge.name} gave no verdict", where="judging")
    if result.leaks:
        words = ", ".join(sorted({leak.word for leak in result.leaks})[:5])
        what = f"{len({leak.packet for leak in result.leaks})} packets hold a name in their own text: {words}"
        _emit(events, "degradation", plan, what=what, why="the judge could read it there", where="judging")
    counts = {name: getattr(result, name) for name in ("planned", "judged", "na", "missing")}
    _emit(events, "judging_finished", plan, judge=judge.name, **counts)


def _emit(events: EventLog | None, kind: str, plan: Plan, **fields: object) -> None:
    if events is not None:
        events.emit(kind, experiment=plan.name, **fields)

"""Judging without an audit, for judges that cannot read: deterministic, free, with nothing to be mistaken about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nightlab.budget import Budget
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.files import JsonLines, now, sha256_text
from nightlab.judging.blind import mask
from nightlab.judging.judge import Judge, Scored, checked
from nightlab.judging.packet import Sealed, packets
from nightlab.judging.work import Tally, durably
from nightlab.together import each


@dataclass(frozen=True)
class _Batch:
    repeat: int
    sealed: Sequence[Sealed]

    @property
    def id(self) -> str:
        """Names the batch in its judgments and in the ledger: the same packets have the same one."""
        names = ",".join(one.packet.id for one in self.sealed)
        return f"b-{sha256_text(f'{self.repeat}:{names}')[:16]}"


class Plain:
    """The batches of one judging, and what became of them."""

    def __init__(
        self,
        plan: Plan,
        rubric: Rubric,
        judge: Judge,
        budget: Budget | None,
        words: Sequence[str],
        store: JsonLines,
        on_kept: Callable[[Tally], None],
    ) -> None:
        self.tally = Tally()
        self._plan, self._rubric, self._judge, self._budget = plan, rubric, judge, budget
        self._words, self._store, self._on_kept = words, store, on_kept

    async def run(self, rows: list[dict[str, Any]], done: set[tuple[str, int]], concurrency: int) -> None:
        """Score what is not done; the first error ends it when the running batches are cancelled."""
        batches = self._batches(rows, done)
        await each(batches, self._finish, min(len(batches), concurrency))

    async def _finish(self, batch: _Batch) -> None:
        await self._keep(batch, await self._score(batch))

    def _batches(self, rows: list[dict[str, Any]], done: set[tuple[str, int]]) -> list[_Batch]:
        """What is still to be judged, in the order of each repeat."""
        found: list[_Batch] = []
        size = self._judge.batch
        for repeat in range(self._plan.judge.repeats):
            sealed = packets(rows, self._plan.sampling.seed, repeat)
            left = [self._shown(one) for one in sealed if (one.key, repeat) not in done]
            found += [_Batch(repeat, left[at : at + size]) for at in range(0, len(left), size)]
        return found

    def _shown(self, one: Sealed) -> Sealed:
        return replace(one, packet=mask(one.packet, self._words)) if self._plan.judge.mask else one

    async def _score(self, batch: _Batch) -> Scored:
        shown = [one.packet for one in batch.sealed]
        estimate = self._judge.estimate(shown, self._rubric)
        if self._budget is None or estimate.free:
            return await self._judge.score(shown, self._rubric, repeat=batch.repeat)
        key = f"judge:{self._plan.name}:{self._judge.name}:{self._rubric.sha}:{batch.id}"
        held = self._budget.reserve(self._budget.fresh(key), usd=estimate.usd, tokens=estimate.tokens, who="judge")
        scored = await self._judge.score(shown, self._rubric, repeat=batch.repeat)
        held.commit(**asdict(scored.cost))
        return scored

    async def _keep(self, batch: _Batch, scored: Scored) -> None:
        rows: list[dict[str, Any]] = []
        for one in batch.sealed:
            verdict = scored.verdicts.get(one.packet.id)
            if verdict is None:
                continue
            verdict = checked(verdict, self._rubric)
            row: dict[str, Any] = {"key": one.key, "judge": self._judge.name, "repeat": batch.repeat}
            row |= {"scores": dict(verdict.scores), "notes": dict(verdict.notes), "rubric": self._rubric.sha}
            row |= {"batch": batch.id, "packet": one.packet.sha, "position": one.position, "t": now()}
            rows.append(row)
        await durably(lambda: self._store.append_many(rows))
        self.tally.judged += len(rows)
        self.tally.na += sum(None in row["scores"].values() for row in rows)
        self.tally.usd += scored.cost.usd
        self.tally.tokens += scored.cost.tokens
        self._on_kept(self.tally)

"""The batches of one audited judging: planned, asked, audited, written; rejected ones anew, and in the end given up.

A batch is planned in the log before it is asked, so that a killed judging goes on with the same packets and pays for
none of them twice. Its judgments are written together, when its known items were looked at; where those were scored
wrongly, every row of the batch says so under `rejected` and none counts.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from nightlab.budget import Budget, Reservation
from nightlab.errors import BudgetExceeded
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.files import JsonLines, now
from nightlab.judging.blind import mask
from nightlab.judging.checks import Check, audit, mix
from nightlab.judging.judge import Estimate, Judge, Scored, Verdict, checked
from nightlab.judging.log import BatchLog, JudgeLog, Planned
from nightlab.judging.packet import Packet, opaque, packet_of
from nightlab.together import each

T = TypeVar("T")
Row = Mapping[str, Any]
ATTEMPTS = 2
GIVE_UP = 2


@dataclass
class Tally:
    """What became of a judging so far."""

    judged: int = 0
    na: int = 0
    refused: int = 0
    repaired: int = 0
    usd: float = 0.0
    tokens: int = 0
    rejected: list[str] = field(default_factory=list)
    """Why batches were rejected, one sentence each."""
    escalated: set[tuple[str, int]] = field(default_factory=set)
    """Samples (with their repeat) whose batches were rejected as often as is tried."""


@dataclass(frozen=True)
class Seat:
    """A judge in its role: `share` of the samples, with what it may spend."""

    judge: Judge
    role: str = "first"
    share: float = 1.0
    budget: Budget | None = None


class Audited:
    """The audited batches of one judge in one experiment."""

    def __init__(
        self,
        plan: Plan,
        rubric: Rubric,
        seat: Seat,
        rows: Mapping[str, Row],
        made: Iterable[Row],
        words: Sequence[str],
        store: JsonLines,
        log: JudgeLog,
        on_kept: Callable[[Tally], None],
    ) -> None:
        self.plan, self.rubric, self.seat, self.rows = plan, rubric, seat, rows
        self.tally = Tally()
        self.log = log
        self.attempts = ATTEMPTS
        """How often a sample's batch is asked before it is given up."""
        self._hopeless_at = GIVE_UP
        self._words, self._store, self._on_kept = words, store, on_kept
        self._who = (seat.judge.name, rubric.sha, seat.role)
        self._done = {(str(row["key"]), int(row["repeat"])) for row in made if "rejected" not in row}
        self._written = {(str(row["batch"]), str(row["key"])) for row in made if "batch" in row}

    @property
    def hopeless(self) -> bool:
        """Whether so many batches were rejected for good that further ones would be, too."""
        return self.log.rejections.get(self._who, 0) >= self._hopeless_at

    def allow_again(self, repeats: int) -> None:
        """Let what was given up be asked once more."""
        wanted = self.given_up(repeats)
        self.attempts = 1 + max((self._attempt(*one) for one in wanted), default=ATTEMPTS - 1)
        self._hopeless_at = self.log.rejections.get(self._who, 0) + GIVE_UP

    def open_batches(self) -> list[Planned]:
        """The batches that an earlier life planned and did not finish, those of samples that are still there."""
        return [
            batch
            for batch in self.log.open.values()
            if (batch.judge, batch.rubric, batch.role) == self._who
            and all(item["key"] in self.rows for item in batch.items if "key" in item)
        ]

    def missing(self, repeats: int) -> list[tuple[str, int]]:
        """What is still to be judged, and was not given up."""
        wanted = itertools.product(self.rows, range(repeats))
        return [(key, n) for key, n in wanted if (key, n) not in self._done and self._attempt(key, n) < self.attempts]

    def given_up(self, repeats: int) -> set[tuple[str, int]]:
        """What was rejected as often as is tried."""
        wanted = itertools.product(self.rows, range(repeats))
        return {(k, n) for k, n in wanted if (k, n) not in self._done and self._attempt(k, n) >= self.attempts}

    def compose(self, wanted: Iterable[tuple[str, int]]) -> list[Planned]:
        """Batches for samples, shuffled over everything, one repeat and one attempt in each; not yet in the log."""
        name, sha, role = self._who
        seed = self.plan.sampling.seed
        sets: dict[tuple[int, int], list[str]] = {}
        for key, repeat in wanted:
            sets.setdefault((repeat, self._attempt(key, repeat)), []).append(key)
        found = []
        for (repeat, attempt), keys in sorted(sets.items()):
            order = sorted(keys, key=lambda key: opaque(f"packet:{seed}:{repeat}:{attempt}", key))
            for part in _chunks(order, self.seat.judge.batch):
                batch = f"b-{secrets.token_hex(8)}"
                items = mix(part, self.rubric, f"{seed}:{repeat}:{attempt}:{part[0]}")
                log = BatchLog(batch, self.log.store)
                found.append(Planned(batch, name, sha, role, repeat, attempt, items, log))
        return found

    def estimate(self, batches: Iterable[Planned]) -> Estimate:
        """The most that these batches may cost."""
        total = Estimate()
        for batch in batches:
            total += self.seat.judge.estimate(self._packets(batch), self.rubric)
        return total

    async def run(self, batches: Iterable[Planned], concurrency: int) -> None:
        """Finish batches, `concurrency` at a time; the first error ends it when the running ones are cancelled."""
        await each(batches, self._finish, concurrency)

    async def _finish(self, batch: Planned) -> None:
        if self.hopeless:
            return
        packets = self._packets(batch)
        if batch.id not in self.log.open:
            self.log.plan(batch)
        scored = await self._paid(batch, packets)
        verdicts = {name: checked(verdict, self.rubric) for name, verdict in scored.verdicts.items()}
        checks = self._checks(batch, packets, verdicts)
        why = audit(checks, self.rubric)
        rows = list(self._judgments(batch, packets, verdicts, why))
        await durably(lambda: self._store.append_many(rows))
        cost = asdict(scored.cost)
        ended: dict[str, object] = {"rejected": why} if why else {}
        await durably(lambda: self.log.close_batch(batch, (check.row() for check in checks), **ended, **cost))
        self._count(batch, rows, scored, why)

    async def _paid(self, batch: Planned, packets: Sequence[Packet]) -> Scored:
        """The scores, with their money set aside before and settled after; an open batch keeps its reservation."""
        judge, budget = self.seat.judge, self.seat.budget
        estimate = judge.estimate(packets, self.rubric)
        if budget is None or estimate.free:
            return await judge.score(packets, self.rubric, repeat=batch.repeat, log=batch.log)
        key = f"judge:{self.plan.name}:{judge.name}:{batch.id}"
        held = budget.reserve(key, usd=estimate.usd, tokens=estimate.tokens, who="judge")
        more: list[Reservation] = []

        def afford(further: Estimate) -> bool:
            name = f"{key}/{len(more) + 2}"
            try:
                more.append(budget.reserve(name, usd=further.usd, tokens=further.tokens, who="judge"))
            except BudgetExceeded:
                return False
            return True

        scored = await judge.score(packets, self.rubric, repeat=batch.repeat, log=batch.log, afford=afford)
        held.commit(**asdict(scored.cost))
        for one in more:
            one.release()
        return scored

    def _packets(self, batch: Planned) -> list[Packet]:
        """What the judge sees, in the order of the batch."""
        secret = f"packet:{self.plan.sampling.seed}:{batch.id}"
        gold = {item.id: item for item in self.rubric.gold}
        found = []
        for number, item in enumerate(batch.items):
            name = opaque(secret, f"{number}:{sorted(item.items())}")
            if "gold" in item:
                known = gold[item["gold"]]
                found.append(Packet(name, known.question, known.answer))
            else:
                packet, _ = packet_of(self.rows[item.get("key") or item["copy"]], name)
                found.append(mask(packet, self._words) if self.plan.judge.mask else packet)
        return found

    def _checks(self, batch: Planned, packets: Sequence[Packet], verdicts: Mapping[str, Verdict]) -> list[Check]:
        """The known items of a batch; one that no verdict came for has no scores."""
        names = {item["key"]: packet.id for item, packet in zip(batch.items, packets, strict=True) if "key" in item}
        gold = {item.id: item for item in self.rubric.gold}
        nothing = Verdict(dict.fromkeys(self.rubric.dimensions))
        found = []
        for position, (item, packet) in enumerate(zip(batch.items, packets, strict=True)):
            verdict = verdicts.get(packet.id, nothing)
            came = (packet.id, position, verdict.request)
            if "gold" in item:
                known = gold[item["gold"]]
                scores = {name: verdict.scores[name] for name in known.scores}
                found.append(Check("gold", known.id, *came, known.scores, scores, known.tolerance))
            elif "copy" in item:
                first = verdicts.get(names[item["copy"]], nothing)
                found.append(Check("copy", item["copy"], *came, first.scores, verdict.scores))
        return found

    def _judgments(
        self, batch: Planned, packets: Sequence[Packet], verdicts: Mapping[str, Verdict], why: str
    ) -> Iterator[dict[str, Any]]:
        """A row for each sample with a verdict that is not written yet."""
        seat = self.seat
        for position, (item, packet) in enumerate(zip(batch.items, packets, strict=True)):
            verdict = verdicts.get(packet.id)
            written = (batch.id, item.get("key")) in self._written
            if "key" not in item or verdict is None or written or (item["key"], batch.repeat) in self._done:
                continue
            row = {"key": item["key"], "judge": seat.judge.name, "repeat": batch.repeat}
            row |= {"scores": dict(verdict.scores), "notes": dict(verdict.notes), "rubric": self.rubric.sha}
            row |= {"batch": batch.id, "packet": packet.sha, "request": verdict.request, "position": position}
            row |= {} if (at := verdict.position_in_request) is None else {"position_in_request": at}
            row |= {"role": seat.role} if seat.role != "first" else {}
            row |= {"protocol": seat.judge.protocol} if seat.judge.protocol else {}
            yield row | ({"rejected": why} if why else {}) | {"t": now()}

    def _count(self, batch: Planned, rows: Sequence[Row], scored: Scored, why: str) -> None:
        tally = self.tally
        tally.refused += scored.refused
        tally.repaired += scored.repaired
        tally.usd += scored.cost.usd
        tally.tokens += scored.cost.tokens
        if why:
            tally.rejected.append(why)
        else:
            self._done |= {(row["key"], batch.repeat) for row in rows}
            tally.judged += len(rows)
            tally.na += sum(None in row["scores"].values() for row in rows)
        self._on_kept(tally)

    def _attempt(self, key: str, repeat: int) -> int:
        name, sha, _ = self._who
        return self.log.attempts.get((name, sha, repeat, key), 0)


async def durably(write: Callable[[], T]) -> T:
    """Write in a thread, and finish it even while this task is being cancelled."""
    task: asyncio.Task[T] = asyncio.create_task(asyncio.to_thread(write))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _chunks(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Parts of about the same size, none larger than `size`."""
    parts = max(1, -(-len(keys) // size))
    edges = [round(number * len(keys) / parts) for number in range(parts + 1)]
    yield from (keys[left:right] for left, right in itertools.pairwise(edges) if right > left)

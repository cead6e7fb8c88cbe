"""Judging: only what is missing, one line each, NA is not 0, money is reserved before it is spent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Amounts, Budget, Limits
from nightlab.errors import BudgetExceeded, ContractBroken, FrozenError, LockHeld, RubricError, StorageError
from nightlab.events import EventLog
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import sole_writer
from nightlab.judging.judge import Afford, Estimate, Judge, Scored, Verdict
from nightlab.judging.log import BatchLog
from nightlab.judging.marker import MarkerJudge, verdict
from nightlab.judging.packet import Packet
from nightlab.judging.rows import read_judgments
from nightlab.judging.run import run_judges

from .conftest import RUBRIC, Answered, build


class Paid:
    """A judge that costs money, sees packets in small batches and may leave some out or stop."""

    name = "paid"
    batch = 5
    audited = False
    protocol = ""

    def __init__(self, scores: Mapping[str, float | None], *, usd: float | None = 0.1, stop_after: int = 99) -> None:
        self.scores, self.usd, self.stop_after = scores, usd, stop_after
        self.seen: list[tuple[int, str]] = []
        self.leave_out: set[str] = set()

    def estimate(self, packets: Sequence[Packet], rubric: Rubric) -> Estimate:
        return Estimate(self.usd, 100 * len(packets))

    def instructions(self, rubric: Rubric) -> bytes:
        return b""

    async def score(
        self,
        packets: Sequence[Packet],
        rubric: Rubric,
        *,
        repeat: int,
        log: BatchLog | None = None,
        afford: Afford | None = None,
    ) -> Scored:
        await asyncio.sleep(0)
        if len(self.seen) >= self.stop_after:
            raise ContractBroken("no verdicts in the answer")
        self.seen += [(repeat, packet.id) for packet in packets]
        kept = [packet.id for packet in packets if packet.id not in self.leave_out]
        return Scored({name: Verdict(self.scores) for name in kept}, Amounts(0.01, 10))


def lines(answered: Answered) -> list[dict[str, Any]]:
    return list(read_judgments(answered.folder))


def markers(answered: Answered) -> MarkerJudge:
    return MarkerJudge(Rubric.load(answered.plan.rubric))


async def judge(answered: Answered, by: Judge, **more: Any) -> Any:
    return await run_judges(answered.plan, answered.samples, by, answered.folder, **more)


async def test_every_sample_gets_one_judgment(answered: Answered, tmp_path: Path) -> None:
    events, told = EventLog(tmp_path), list[tuple[int, int]]()
    result = await judge(answered, markers(answered), events=events, on_progress=lambda *counts: told.append(counts))
    assert (result.planned, result.judged, result.na, result.missing, result.leaks) == (12, 12, 0, 0, ())
    rubric = Rubric.load(answered.plan.rubric)
    for row in lines(answered):
        assert (row["judge"], row["repeat"], row["rubric"]) == ("markers", 0, rubric.sha)
        assert row["scores"] == {"joy": 4, "gloom": 1}
        assert row["notes"] == {"method": "published markers, deterministic", "markers": {"joy": [0]}}
        assert len(row["packet"]) == 16
    assert {row["key"] for row in lines(answered)} == answered.samples.keys()
    assert sorted(row["position"] for row in lines(answered)) == list(range(12))
    assert [event["kind"] for event in events.read()] == ["judging_started", "judging_finished"]
    assert told[-1] == (12, 12)


async def test_only_missing_judgments_are_made(answered: Answered) -> None:
    await judge(answered, markers(answered))
    path = answered.folder / "judgments.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:7]) + whole[7][:20])
    result = await judge(answered, markers(answered))
    assert (result.judged, result.missing) == (5, 0)
    assert len(lines(answered)) == 12
    assert {row["position"] for row in lines(answered)} == set(range(12))
    assert (await judge(answered, markers(answered))).judged == 0


async def test_later_samples_are_judged_later(tmp_path: Path) -> None:
    answered = Answered(build(tmp_path / "exp_001_joy"))
    answered.answer(limit=4)
    assert (await judge(answered, markers(answered))).judged == 4
    answered.answer()
    result = await judge(answered, markers(answered))
    assert (result.planned, result.judged, result.missing) == (12, 8, 0)


async def test_an_empty_answer_has_no_score(tmp_path: Path) -> None:
    answered = Answered(build(tmp_path / "exp_001_joy"))
    answered.answer({"base": " \n"})
    result = await judge(answered, markers(answered))
    assert (result.judged, result.na, result.missing) == (12, 4, 0)
    empty = [row for row in lines(answered) if row["scores"]["joy"] is None]
    assert len(empty) == 4
    assert all(row["scores"] == {"joy": None, "gloom": None} and row["notes"]["empty"] for row in empty)


def test_markers_count_once_add_up_and_are_clipped(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text(RUBRIC)
    rubric = Rubric.load(tmp_path / "rubric.md")
    scores = {
        "Nothing.": (0, 1),
        "Hooray! hooray! What fun!": (4, 1),
        "Wonderful. ALAS, hooray.": (10, 3),
        "wonderfully": (0, 1),
    }
    for text, (joy, gloom) in scores.items():
        assert verdict(text, rubric).scores == {"joy": joy, "gloom": gloom}, text


def test_markers_need_markers(tmp_path: Path) -> None:
    text = RUBRIC.replace('    markers:\n      - {pattern: "alas", points: 3}\n', "")
    (tmp_path / "rubric.md").write_text(text)
    with pytest.raises(RubricError, match="gloom has no markers"):
        MarkerJudge(Rubric.load(tmp_path / "rubric.md"))


async def test_repeats_and_judges_are_apart(tmp_path: Path) -> None:
    answered = Answered(build(tmp_path / "exp_001_joy", judge={"repeats": 2}))
    answered.answer()
    paid = Paid({"joy": 3.0, "gloom": 2.0})
    assert (await judge(answered, paid)).judged == 24
    assert len({name for _, name in paid.seen}) == 24
    assert (await judge(answered, markers(answered))).judged == 24
    assert len(lines(answered)) == 48
    orders = [
        [row["key"] for row in sorted(lines(answered), key=lambda r: r["position"]) if row["repeat"] == n]
        for n in (0, 1)
    ]
    assert orders[0] != orders[1]


async def test_a_score_out_of_range_is_not_available_and_said(answered: Answered) -> None:
    result = await judge(answered, Paid({"joy": 11.0, "gloom": float("nan")}))
    assert (result.judged, result.na) == (12, 12)
    row = lines(answered)[0]
    assert row["scores"] == {"joy": None, "gloom": None}
    assert row["notes"]["out_of_range"] == {"joy": "11.0", "gloom": "nan"}


async def test_a_missing_score_is_not_available(answered: Answered) -> None:
    assert (await judge(answered, Paid({"joy": 3.0}))).na == 12
    assert lines(answered)[0]["scores"] == {"joy": 3.0, "gloom": None}


async def test_a_score_of_an_unknown_dimension_breaks_the_contract(answered: Answered) -> None:
    with pytest.raises(ContractBroken, match="'jo'"):
        await judge(answered, Paid({"jo": 3.0}))
    assert lines(answered) == []


async def test_a_packet_without_a_verdict_stays_missing(answered: Answered, tmp_path: Path) -> None:
    first = Paid({"joy": 3.0, "gloom": 2.0})
    await judge(answered, first)
    (answered.folder / "judgments.jsonl").unlink()
    second, events = Paid({"joy": 3.0, "gloom": 2.0}), EventLog(tmp_path / "night")
    second.leave_out = {name for _, name in first.seen[:3]}
    result = await judge(answered, second, events=events)
    assert (result.judged, result.missing) == (9, 3)
    degraded = [event for event in events.read() if event["kind"] == "degradation"]
    assert [event["what"] for event in degraded] == ["3 of 12 judgments are missing"]
    second.leave_out = set()
    assert (await judge(answered, second)).missing == 0


async def test_a_judge_that_fails_keeps_what_was_judged(answered: Answered) -> None:
    failing = Paid({"joy": 3.0, "gloom": 2.0}, stop_after=5)
    with pytest.raises(ContractBroken):
        await judge(answered, failing, concurrency=1)
    assert len(lines(answered)) == 5
    assert (await judge(answered, Paid({"joy": 3.0, "gloom": 2.0}))).judged == 7


async def test_money_is_reserved_before_and_committed_after(answered: Answered, tmp_path: Path) -> None:
    budget = Budget(tmp_path / "ledger.jsonl", Limits(usd=1.0))
    await judge(answered, Paid({"joy": 3.0, "gloom": 2.0}), budget=budget)
    assert budget.spent().usd == pytest.approx(0.03)
    assert budget.spent().tokens == 30
    assert list(budget.by_who()) == ["judge"]


async def test_packets_that_are_asked_again_cost_again(answered: Answered, tmp_path: Path) -> None:
    budget = Budget(tmp_path / "ledger.jsonl", Limits(usd=1.0))
    paid = Paid({"joy": 3.0, "gloom": 2.0})
    await judge(answered, paid)
    (answered.folder / "judgments.jsonl").unlink()
    paid.leave_out = {name for _, name in paid.seen}
    await judge(answered, paid, budget=budget)
    once = budget.spent().usd
    await judge(answered, paid, budget=budget)
    assert budget.spent().usd == pytest.approx(2 * once)


async def test_a_judging_stops_before_its_budget_does(answered: Answered, tmp_path: Path) -> None:
    paid = Paid({"joy": 3.0, "gloom": 2.0}, usd=0.5)
    with pytest.raises(BudgetExceeded):
        await judge(answered, paid, budget=Budget(tmp_path / "a.jsonl", Limits(usd=0.4)))
    unknown = Paid({"joy": 3.0}, usd=None)
    with pytest.raises(BudgetExceeded, match="price is unknown"):
        await judge(answered, unknown, budget=Budget(tmp_path / "b.jsonl", Limits(usd=9)))
    assert paid.seen == []
    assert unknown.seen == []


async def test_names_in_texts_are_reported_as_a_degradation(tmp_path: Path) -> None:
    answered = Answered(build(tmp_path / "exp_001_joy"))
    answered.answer({"base": "I am Llama. What fun!"})
    events = EventLog(tmp_path / "night")
    result = await judge(answered, markers(answered), events=events)
    assert {(leak.part, leak.word) for leak in result.leaks} == {("answer", "llama")}
    (degraded,) = [event for event in events.read() if event["kind"] == "degradation"]
    assert degraded["what"] == "4 packets hold a name in their own text: llama"


async def test_a_changed_rubric_is_refused_after_the_freeze(answered: Answered) -> None:
    by = markers(answered)
    answered.plan.rubric.write_text(RUBRIC + "More.\n")
    with pytest.raises(FrozenError, match="rubric"):
        await judge(answered, by)


async def test_one_process_judges_at_a_time(answered: Answered) -> None:
    with sole_writer(answered.folder), pytest.raises(LockHeld):
        await judge(answered, markers(answered))


async def test_a_doubled_judgment_is_reported_with_its_line(answered: Answered) -> None:
    await judge(answered, markers(answered))
    path = answered.folder / "judgments.jsonl"
    with path.open("a") as out:
        out.write(json.dumps(lines(answered)[2]) + "\n")
    with pytest.raises(StorageError, match=r"judgments\.jsonl:13"):
        lines(answered)

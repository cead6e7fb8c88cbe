"""Audited batches: a judge that is constant, reversed or mixes items up is rejected, tried again, and given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nightlab.events import EventLog
from nightlab.experiments.rubric import Rubric
from nightlab.judging.checks import Check, audit, mix, sentinels
from nightlab.judging.degeneracy import doubts
from nightlab.judging.log import read_log
from nightlab.judging.pilot import Pilot
from nightlab.judging.rows import counts, read_judgments
from nightlab.testing import FakeMessagesAPI, judging
from nightlab.testing.judges import packets_in, verdicts

from .conftest import Answered
from .reading import good, judged, right, two_dozen

Scores = Mapping[str, Any]
Bad = Callable[[Answered], Callable[[dict[str, Any]], str]]


@pytest.fixture
def study(tmp_path: Path) -> Answered:
    """Two dozen answers with gold items."""
    return two_dozen(tmp_path / "exp_001_joy")


def constant(_: Answered) -> Callable[[dict[str, Any]], str]:
    """A judge with one opinion."""
    return judging(lambda packet: {"joy": 5, "gloom": 3})  # type: ignore[return-value]


def lowest(_: Answered) -> Callable[[dict[str, Any]], str]:
    """A judge that finds nothing anywhere."""
    return judging(lambda packet: {"joy": 0, "gloom": 1})  # type: ignore[return-value]


def reversed_(study: Answered) -> Callable[[dict[str, Any]], str]:
    """A judge that reads the scale from its other end."""
    score = right(study)
    return judging(lambda p: {"joy": 10 - float(score(p)["joy"]), "gloom": 6 - float(score(p)["gloom"])})  # type: ignore[return-value]


def swapping(study: Answered) -> Callable[[dict[str, Any]], str]:
    """A good judge that gives the first two packets of each answer one another's verdicts."""

    def script(body: dict[str, Any]) -> str:
        packets = packets_in(body)
        scores = [right(study)(packet) for packet in packets]
        scores[:2] = scores[1::-1] if len(scores) > 1 else scores
        return verdicts({p["id"]: given for p, given in zip(packets, scores, strict=True)})

    return script


def rounding(study: Answered) -> Callable[[dict[str, Any]], str]:
    """A usable judge: a little off everywhere."""
    score = right(study)
    return judging(lambda p: {"joy": min(10, float(score(p)["joy"]) + 1), "gloom": score(p)["gloom"]})  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (constant, "the sentinels of joy are 0 apart"),
        (lowest, "the sentinels of joy are 0 apart"),
        (reversed_, "the sentinels of joy are in the wrong order"),
        (swapping, ""),
    ],
)
async def test_a_bad_judge_is_rejected_by_its_known_items(study: Answered, tmp_path: Path, bad: Bad, why: str) -> None:
    events = EventLog(tmp_path / "night")
    with FakeMessagesAPI(bad(study)) as api:
        result = await judged(study, api, per_packet=6, events=events)
    assert (result.judged, result.missing, result.escalated) == (0, 24, 24)
    assert len(result.rejected) == 2
    assert all(text.startswith(why) for text in result.rejected)
    rows = list(read_judgments(study.folder))
    assert len(rows) == 48
    assert not any(map(counts, rows))
    assert {row["rejected"] for row in rows} == set(result.rejected)
    assert any("given up" in event["what"] for event in events.read() if event["kind"] == "degradation")


async def test_a_usable_judge_is_not_rejected(study: Answered) -> None:
    with FakeMessagesAPI(rounding(study)) as api:
        assert (await judged(study, api)).rejected == ()


async def test_a_rejected_batch_is_judged_again_in_another_order_and_then_counts(study: Answered) -> None:
    """The judge recovers after its first batch: that one stays in the file, rejected, and the second one counts."""
    seen = {"packets": 0}

    def script(body: dict[str, Any]) -> str:
        seen["packets"] += len(packets_in(body))
        return (constant(study) if seen["packets"] <= 31 else good(study))(body)  # type: ignore[return-value]

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api)
    assert (result.judged, result.missing, len(result.rejected), result.escalated) == (24, 0, 1, 0)
    rows = list(read_judgments(study.folder))
    first, second = ([row for row in rows if counts(row) is good_] for good_ in (False, True))
    assert len(first) == len(second) == 24
    assert [row["key"] for row in first] != [row["key"] for row in second]
    assert {row["packet"] for row in first}.isdisjoint({row["packet"] for row in second})
    assert [row.get("rejected") is None for row in read_log(study.folder, "closed")] == [False, True]


async def test_what_was_given_up_is_asked_once_more_when_a_person_says_so(study: Answered) -> None:
    with FakeMessagesAPI(constant(study)) as api:
        await judged(study, api)
        asked = len(api.asked())
        assert (await judged(study, api)).missing == 24
        assert len(api.asked()) == asked
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, again=True)
    assert (result.judged, result.missing) == (24, 0)


async def test_the_pilot_shows_every_stratum_and_its_reply_decides(tmp_path: Path) -> None:
    study = two_dozen(tmp_path / "exp_001_joy", pilot=1)
    shown: list[Pilot] = []

    async def stop(pilot: Pilot) -> bool:
        shown.append(pilot)
        return False

    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, gate=stop)
        again = await judged(study, api, gate=stop)
    [pilot] = shown
    assert (result.judged, result.missing, again.judged) == (6, 18, 0)
    assert "reply to the pilot" in again.stopped
    assert {(s.model, s.condition, s.n) for s in pilot.strata} == {
        (model, condition, 1) for model in ("llama", "gemma") for condition in ("base", "layers_0_20", "layers_20_40")
    }
    assert pilot.rest.usd is not None
    assert 0 < pilot.usd < pilot.rest.usd
    assert pilot.means.keys() == {"joy", "gloom"}
    assert "means" not in pilot.document()["strata"][0]
    assert "known items were scored as they should be" in pilot.sentence()


async def test_a_pilot_that_was_stopped_is_shown_again_when_a_person_says_so(tmp_path: Path) -> None:
    study = two_dozen(tmp_path / "exp_001_joy", pilot=1)
    replies = [False, True]

    async def reply(_: Pilot) -> bool:
        return replies.pop(0)

    with FakeMessagesAPI(good(study)) as api:
        stopped = await judged(study, api, gate=reply)
        result = await judged(study, api, gate=reply, again=True)
    assert (stopped.judged, result.judged, result.missing, replies) == (6, 18, 0, [])
    assert [gate["go_on"] for gate in read_log(study.folder, "gate")] == [False, True]


async def test_without_a_reply_the_judging_goes_on_after_its_pilot(tmp_path: Path) -> None:
    study = two_dozen(tmp_path / "exp_001_joy", pilot=1)
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api)
    assert (result.judged, result.missing) == (24, 0)
    [gate] = read_log(study.folder, "gate")
    assert (gate["go_on"], gate["judged"]) == (True, 6)


def checks(rubric: Rubric, **scores: tuple[float | None, float | None]) -> list[Check]:
    """The gold items of a rubric with these scores (joy, gloom), the right ones where none are given."""
    return [
        Check(
            "gold",
            item.id,
            item.id,
            0,
            "",
            item.scores,
            dict(zip(("joy", "gloom"), scores[item.id], strict=True)) if item.id in scores else item.scores,
        )
        for item in rubric.gold
    ]


def test_a_batch_of_five_bears_one_gold_item_that_is_missed_and_none_that_is_far_off(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    assert audit(checks(rubric), rubric) == ""
    assert audit(checks(rubric, more=(6, 2)), rubric) == ""
    assert audit(checks(rubric, more=(2, 1)), rubric) == ""
    assert "2 of 5 gold items were scored too far off" in audit(checks(rubric, more=(2, 1), dark=(5, 3)), rubric)
    assert audit(checks(rubric, more=(0, 1)), rubric) == "one of 5 gold items is off by 7 in joy: more"
    assert "2 of 5 gold items have no score" in audit(checks(rubric, more=(None, 1), some=(None, 1)), rubric)


def test_copies_that_differ_reject_a_batch(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    same = Check("copy", "k", "p", 3, "", {"joy": 4, "gloom": 1}, {"joy": 5, "gloom": 1})
    other = Check("copy", "l", "p", 3, "", {"joy": 4, "gloom": 1}, {"joy": 9, "gloom": 2})
    least = Check("copy", "m", "p", 3, "", {"joy": 1, "gloom": 1}, {"joy": 9, "gloom": 1})
    assert audit([same, other], rubric) == audit([same, same], rubric) == ""
    assert "2 of 2 copies" in audit([other, other], rubric)
    assert audit([same, least], rubric) == "one of 2 copies is off by 8 in joy: m"


def test_known_items_stand_anywhere_and_copies_far_from_their_originals(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    keys = [f"k{number}" for number in range(200)]
    items = mix(keys, rubric, "seed")
    assert [item["key"] for item in items if "key" in item] == keys
    assert {item["gold"] for item in items if "gold" in item} == {item.id for item in rubric.gold}
    places = {item["key"]: number for number, item in enumerate(items) if "key" in item}
    copies = [(number, places[item["copy"]]) for number, item in enumerate(items) if "copy" in item]
    assert len(copies) == 4
    assert all(abs(at - origin) > 90 for at, origin in copies)
    assert mix(keys, rubric, "seed") == items != mix(keys, rubric, "other")


def test_sentinels_are_the_marked_ones_or_the_two_ends(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    assert sentinels(rubric) == {"plain": "base", "bright": "full"}
    path = study.folder / "gold.yaml"
    path.write_text(
        path.read_text().replace("sentinel: base", "tolerance: 0.3").replace("sentinel: full", "tolerance: 0.3")
    )
    assert sentinels(Rubric.load(study.plan.rubric)) == {"plain": "base", "bright": "full"}


def test_constant_scores_and_favourite_digits_are_seen() -> None:
    assert doubts([{"joy": 5.0}] * 19) == []
    assert doubts([{"joy": 5.0}] * 20) == ["joy: all 20 scores are 5"]
    smooth = [{"joy": float(number % 10)} for number in range(100)]
    assert doubts(smooth) == []
    heaped = [{"joy": float(number)} for number in [*range(11), *([5] * 20), *([4, 6] * 3)]]
    [found] = doubts(heaped)
    assert found.startswith("joy: 5 is given")
    assert "digit preference" in found

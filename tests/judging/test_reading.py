"""Judges that read: valid verdicts only, NA with its reason, nothing paid twice, and no label anywhere in the bytes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nightlab.brains.failures import BrainStopped
from nightlab.brains.prices import Prices
from nightlab.budget import Budget, Limits
from nightlab.errors import BudgetExceeded, FrozenError
from nightlab.events import EventLog
from nightlab.judging.blind import BlindnessError, forbidden_words, leaks
from nightlab.judging.log import read_log
from nightlab.judging.rows import counts, read_judgments
from nightlab.testing import Fail, FakeMessagesAPI, Say, refusal
from nightlab.testing.judges import answer, packets_in, verdicts

from .conftest import Answered
from .reading import MODEL, good, judged, right, two_dozen

WORD = "[0-9a-f]{16}"


@pytest.fixture
def study(tmp_path: Path) -> Answered:
    return two_dozen(tmp_path / "exp_001_joy")


def rows(answered: Answered) -> list[dict[str, Any]]:
    return [row for row in read_judgments(answered.folder) if counts(row)]


def first_of(body: dict[str, Any]) -> dict[str, str]:
    return packets_in(body)[0]


def complained(body: dict[str, Any]) -> int:
    """How often an answer was sent back in this conversation."""
    return len(body["messages"]) // 2


@pytest.mark.parametrize("per_packet", [1, 10])
async def test_every_sample_is_judged_once_and_known_items_are_no_samples(study: Answered, per_packet: int) -> None:
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, per_packet=per_packet)
        shown = Counter(packet["id"] for request in api.asked() for packet in packets_in(request.body))
    assert (result.planned, result.judged, result.na, result.missing, result.rejected) == (24, 24, 0, 0, ())
    assert {row["key"] for row in rows(study)} == study.samples.keys()
    texts = {row["key"]: row["text"] for row in study.samples.rows()}
    assert all(row["scores"] == right(study)({"answer": texts[row["key"]]}) for row in rows(study))
    checks = read_log(study.folder, "check")
    assert Counter(check["kind"] for check in checks) == {"gold": 5, "copy": 2}
    assert len(shown) == sum(shown.values()) == 31
    assert len({row["batch"] for row in rows(study)}) == 1
    assert {row["position"] for row in rows(study)} < set(range(31))
    with_place = {row["position"]: row["position_in_request"] for row in rows(study)}
    assert with_place == {position: position % per_packet for position in with_place}


async def test_a_request_is_a_schema_a_cached_rubric_and_nothing_that_tells(study: Answered) -> None:
    with FakeMessagesAPI(good(study)) as api:
        await judged(study, api)
        bodies = [request.body for request in api.asked()]
        headers = [request.headers for request in api.asked()]
    schema = bodies[0]["output_config"]["format"]["schema"]["properties"]["verdicts"]["items"]
    assert schema["properties"]["scores"]["required"] == ["joy", "gloom"]
    assert bodies[0]["system"][0]["cache_control"]["ttl"] == "1h"
    assert len({json.dumps([body["system"], body["output_config"]]) for body in bodies}) == 1
    everything = json.dumps([bodies, headers]).lower()
    for word in (*forbidden_words(study.plan), "layers_", "base", "gold", "copy", "sentinel"):
        assert word.lower() not in everything, word
    assert not any(row["key"] in everything for row in study.samples.rows())


async def test_a_judge_that_cheats_finds_no_label(study: Answered) -> None:
    """It scores by any label it can find in what it sees; with none, all it can say is one number."""
    labels = [*forbidden_words(study.plan), "base", "full", "control", "treated"]

    def cheat(body: dict[str, Any]) -> str:
        seen = json.dumps(body, ensure_ascii=False).replace('"cache_control"', "")  # a field of the API, and no label
        found = leaks(seen.encode(), labels)
        return verdicts({packet["id"]: {"joy": 9 if found else 2, "gloom": 1} for packet in packets_in(body)})

    with FakeMessagesAPI(cheat) as api:
        result = await judged(study, api)
    given = {row["scores"]["joy"] for row in read_judgments(study.folder)}
    assert given == {2}
    assert result.judged == 0
    assert "wrong order" in result.rejected[0] or "apart" in result.rejected[0]


async def test_the_rubric_is_read_from_the_cache_and_its_tokens_are_paid_as_such(study: Answered) -> None:
    """One call writes the prefix for an hour; every other one reads it, at its own price."""
    price = Prices.load().row(MODEL, 0)
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, prompt="You score texts by a rubric. " * 100)
    usages = [row["message"]["usage"] for row in read_log(study.folder, "reply")]
    assert [usage["cache_read_input_tokens"] > 600 for usage in usages].count(True) == 30
    assert [usage["cache_creation"]["ephemeral_1h_input_tokens"] > 600 for usage in usages].count(True) == 1
    dollars = [
        price.cache_read * usage["cache_read_input_tokens"]
        + price.write_1h * usage["cache_creation"]["ephemeral_1h_input_tokens"]
        + price.write_5m * usage["cache_creation"]["ephemeral_5m_input_tokens"]
        + price.input * usage["input_tokens"]
        + price.output * usage["output_tokens"]
        for usage in usages
    ]
    assert result.usd == pytest.approx(sum(dollars) / 1e6)
    assert price.cache_read < price.input / 5


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("no json", "no JSON object"),
        ({"joy": 14, "gloom": 1}, "outside of 0 to 10"),
        ({"joy": 3}, "it has no `gloom`"),
        ({"joy": "high", "gloom": 1}, "neither a number nor null"),
        ({"joy": True, "gloom": 1}, "neither a number nor null"),
        ({"joy": 3, "gloom": 1, "wit": 2}, "no dimension of the rubric"),
    ],
)
async def test_an_answer_that_is_not_valid_is_sent_back_with_what_is_wrong(
    study: Answered, broken: str | dict[str, Any], fault: str
) -> None:
    def script(body: dict[str, Any]) -> str:
        packet = first_of(body)
        if "wonderful evening" not in packet["answer"] or complained(body):
            return good(study)(body)  # type: ignore[return-value]
        return broken if isinstance(broken, str) else verdicts({packet["id"]: broken})

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api)
        again = [request.body for request in api.asked() if complained(request.body)]
    assert (result.judged, result.na, result.repaired) == (24, 0, len(again))
    assert again
    assert all(fault in body["messages"][2]["content"][0]["text"] for body in again)


async def test_what_stays_invalid_is_not_available_with_the_reason_and_never_zero(study: Answered) -> None:
    def script(body: dict[str, Any]) -> str:
        packet = first_of(body)
        return verdicts({packet["id"]: {"joy": 77, "gloom": 1}}) if "ended" in packet["answer"] else good(study)(body)  # type: ignore[return-value]

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api)
        asked = Counter(first_of(request.body)["id"] for request in api.asked())
    assert (result.judged, result.na, result.missing) == (24, 8, 0)
    invalid = [row for row in rows(study) if row["scores"]["joy"] is None]
    assert len(invalid) == 8
    assert all(row["scores"]["gloom"] is None and "77, outside" in row["notes"]["na"] for row in invalid)
    assert max(asked.values()) == 3


async def test_a_refusal_costs_only_its_own_packet(study: Answered, tmp_path: Path) -> None:
    shy = next(row["key"] for row in study.samples.rows())

    def script(body: dict[str, Any]) -> Any:
        if any("wonderful evening" in packet["answer"] for packet in packets_in(body)):
            return refusal("frontier_llm")
        return good(study)(body)

    events = EventLog(tmp_path / "night")
    with FakeMessagesAPI(script) as api:
        result = await judged(study, api, per_packet=6, events=events)
    assert shy
    assert (result.judged, result.na, result.missing) == (24, 8, 0)
    assert result.refused >= 8
    assert {row["notes"]["na"] for row in rows(study) if "na" in row["notes"]} == {"refused: frontier_llm"}
    assert any("refused" in event["what"] for event in events.read() if event["kind"] == "degradation")


async def test_an_answer_that_is_cut_is_asked_for_packet_by_packet_and_with_more_room(study: Answered) -> None:
    def script(body: dict[str, Any]) -> Any:
        if len(packets_in(body)) > 1 or body["max_tokens"] < 5000:
            return Say([{"type": "text", "text": '{"verdicts": [{"id'}], "max_tokens")
        return good(study)(body)

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api, per_packet=10)
    assert (result.judged, result.na) == (24, 0)


async def test_a_verdict_that_is_missing_or_doubled_is_asked_for_again_and_the_others_are_kept(study: Answered) -> None:
    def script(body: dict[str, Any]) -> str:
        packets = packets_in(body)
        good_rows = [{"id": p["id"], "scores": right(study)(p), "notes": {"joy": "said"}} for p in packets]
        return answer(good_rows) if complained(body) else answer([*good_rows[1:], good_rows[-1]])

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api, per_packet=8)
        complaints = [r.body["messages"][2]["content"][0]["text"] for r in api.asked() if complained(r.body)]
    assert (result.judged, result.na) == (24, 0)
    assert all(text.count("\n- ") == 2 for text in complaints)
    assert {json.dumps(row["notes"]) for row in rows(study)} == {'{"quotes": {"joy": "said"}}'}


async def test_money_is_set_aside_before_and_counted_after(study: Answered, tmp_path: Path) -> None:
    budget = Budget(tmp_path / "ledger.jsonl", Limits(usd=5.0))
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, budget=budget)
        assert 0 < result.usd < 0.1
        assert budget.spent().usd == pytest.approx(result.usd)
        assert list(budget.by_who()) == ["judge"]
        assert (await judged(study, api, budget=budget)).judged == 0
        assert len(api.asked()) == 31
    poor = Budget(tmp_path / "poor.jsonl", Limits(usd=0.0001))
    (study.folder / "judgments.jsonl").unlink()
    with FakeMessagesAPI(good(study)) as api:
        with pytest.raises(BudgetExceeded, match=r"would be used of 0\.0001"):
            await judged(study, api, budget=poor)
        assert api.asked() == []


async def test_a_storm_of_429_is_weathered_by_its_headers(study: Answered) -> None:
    storm = {"left": 30}

    def script(body: dict[str, Any]) -> Any:
        if storm["left"]:
            storm["left"] -= 1
            return Fail(429, headers={"retry-after": "0.05", "anthropic-ratelimit-requests-remaining": "0"})
        return good(study)(body)

    with FakeMessagesAPI(script) as api:
        result = await judged(study, api)
        statuses = Counter(api.statuses())
    assert (result.judged, result.missing) == (24, 0)
    assert statuses == {200: 31, 429: 30}


async def test_other_instructions_are_another_judge(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeMessagesAPI(good(study)) as api:
        await judged(study, api)
        path = study.folder / "judgments.jsonl"
        path.write_text(path.read_text().replace('"protocol":"', '"protocol":"0'))
        with pytest.raises(FrozenError, match="other instructions"):
            await judged(study, api)


async def test_instructions_that_tell_are_refused_before_anything_is_sent(study: Answered) -> None:
    with FakeMessagesAPI(good(study)) as api:
        for told in ("layers_0_20", "lab/llama-8b", "Joy sits early."):
            with pytest.raises(BlindnessError, match=told):
                await judged(study, api, prompt=f"Score it. It may be by {told}")
        assert api.asked() == []
        result = await judged(study, api, prompt="Score it as a llama would.")
    assert [(leak.part, leak.word) for leak in result.leaks] == [("instructions", "llama")]


async def test_names_in_texts_are_struck_out_where_the_plan_says_so(tmp_path: Path) -> None:
    study = two_dozen(tmp_path / "exp_001_joy", mask=True)
    path = study.folder / "samples.jsonl"
    path.write_text(path.read_text().replace("Nothing to report.", "I am Llama with layers_0_20. Nothing."))
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api)
        everything = json.dumps([request.body for request in api.asked()]).lower()
    assert result.judged == 24
    assert "llama" not in everything
    assert "layers_0_20" not in everything
    assert {leak.word for leak in result.leaks} == {"llama", "layers_0_20"}


async def test_what_was_answered_before_a_crash_is_not_asked_again(study: Answered, tmp_path: Path) -> None:
    """The key is refused after a dozen answers: they are in the log, and the next judging asks for the rest alone."""
    budget = Budget(tmp_path / "ledger.jsonl", Limits(usd=5.0))
    answered: list[str] = []

    def script(body: dict[str, Any]) -> Any:
        if len(answered) >= 12:
            return Fail(401, message="no")
        answered.append(first_of(body)["id"])
        return good(study)(body)

    with FakeMessagesAPI(script) as api, pytest.raises(BrainStopped):
        await judged(study, api, budget=budget)
    assert rows(study) == []
    kept = len(read_log(study.folder, "reply"))
    assert 0 < kept <= 12
    with FakeMessagesAPI(good(study)) as api:
        result = await judged(study, api, budget=budget)
        asked = [first_of(request.body)["id"] for request in api.asked()]
    assert (result.judged, result.missing) == (24, 0)
    assert len(asked) == 31 - kept
    assert len(set(asked) & set(answered)) == len(answered) - kept
    assert budget.spent().usd == pytest.approx(result.usd)

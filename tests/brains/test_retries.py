"""What is tried again, how long, and what is not: over real sockets, in virtual time."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from nightlab.brains import TurnRequest
from nightlab.brains.failures import BrainStopped, BrainUnreachable, RequestRejected, WaitUntil
from nightlab.brains.retries import RetryPolicy
from nightlab.testing import Entry, Fail, FakeMessagesAPI, Say, overloaded, usage_limit
from tests.brains.conftest import SYSTEM, TOOLS, Clock, Heard, Open

TEXT = [{"type": "text", "text": "Good evening, it is late. " * 10}]


def request() -> TurnRequest:
    return TurnRequest(SYSTEM, TOOLS, [{"role": "user", "content": [{"type": "text", "text": "go"}]}], "watch_01")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
async def test_the_allow_list(claude: Open, clock: Clock, heard: Heard, status: int) -> None:
    with FakeMessagesAPI([Fail(status), "ok"]) as api:
        turn = await claude(api).turn(request())
        assert (turn.attempts, api.statuses()) == (2, [status, 200])
    assert clock.slept == [1.0]
    assert str(status) in heard.retries[0].what


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_everything_else_ends_the_turn(claude: Open, clock: Clock, status: int) -> None:
    with FakeMessagesAPI([Fail(status), "ok"]) as api:
        with pytest.raises(RequestRejected, match=str(status)):
            await claude(api).turn(request())
        assert len(api.asked()) == 1
    assert clock.slept == []


STOPS = [
    Fail(401),
    Fail(402),
    Fail(403),
    Fail(402, error_code="linked_organization_spend_limit_reached"),
    Fail(429, error_code="enforced_spend_limit_reached", headers={"retry-after": "1"}),
    Fail(429, error_code="contract_spend_limit_reached"),
    Say(TEXT, sse_error="billing_error"),
]


@pytest.mark.parametrize("fail", STOPS)
async def test_the_account_stops_at_once_with_a_mention(claude: Open, clock: Clock, fail: Entry) -> None:
    with FakeMessagesAPI([fail, "ok"]) as api:
        with pytest.raises(BrainStopped) as caught:
            await claude(api).turn(request())
        assert len(api.asked()) == 1
    assert "To go on:" in caught.value.mention
    assert clock.slept == []


async def test_a_ramp_limit_is_retried(claude: Open, clock: Clock) -> None:
    limit = Fail(429, error_code="ramp_limit_exceeded", headers={"retry-after": "42"})
    with FakeMessagesAPI([limit, "ok"]) as api:
        await claude(api).turn(request())
    assert clock.slept == [42.0]


async def test_a_storm_of_five_minutes(claude: Open, clock: Clock, heard: Heard) -> None:
    """529 until five virtual minutes are over: one turn, waits that grow to a cap."""
    began = clock.now

    def storm(_: dict[str, Any]) -> Fail | str:
        return Fail(529, message="Overloaded") if clock.now < began + 300 else "calm"

    with FakeMessagesAPI(storm) as api:
        turn = await claude(api).turn(request())
    assert turn.content[0]["text"] == "calm"
    assert clock.slept[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert 300 <= clock.now - began <= 363
    assert turn.attempts == len(heard.retries) + 1


async def test_an_outage_ends_when_the_turns_time_is_over(claude: Open, clock: Clock) -> None:
    began = clock.now
    with FakeMessagesAPI(overloaded()) as api, pytest.raises(BrainUnreachable, match="529") as caught:
        await claude(api).turn(request())
    assert clock.now - began <= 1800
    assert caught.value.attempts > 20


async def test_the_deadline_ends_it_earlier(claude: Open, clock: Clock) -> None:
    end = clock.now + 10
    with FakeMessagesAPI(overloaded()) as api, pytest.raises(BrainUnreachable):
        await claude(api, seconds_left=lambda: max(0.0, end - clock.now)).turn(request())
    assert clock.now <= end


async def test_no_time_at_all_asks_nothing(claude: Open) -> None:
    with FakeMessagesAPI() as api:
        with pytest.raises(BrainUnreachable, match="0 attempts"):
            await claude(api, seconds_left=lambda: 0.0).turn(request())
        assert api.asked() == []


@pytest.mark.parametrize(("header", "value", "wait"), [("retry-after", "20", 20), ("retry-after-ms", "2500", 2.5)])
async def test_retry_after_is_honoured(claude: Open, clock: Clock, header: str, value: str, wait: float) -> None:
    with FakeMessagesAPI([Fail(429, headers={header: value}), "ok"]) as api:
        await claude(api).turn(request())
    assert clock.slept == [wait]


async def test_retry_after_as_a_date_and_as_nonsense(claude: Open, clock: Clock) -> None:
    date = format_datetime(datetime.fromtimestamp(clock.now + 30, UTC), usegmt=True)
    script: list[Entry] = [
        Fail(503, headers={"retry-after": date}),
        Fail(503, headers={"retry-after": "soon"}),
        "ok",
    ]
    with FakeMessagesAPI(script) as api:
        await claude(api).turn(request())
    assert clock.slept == [30.0, 2.0]


async def test_an_hours_retry_after_is_no_sleep_but_a_time(claude: Open, clock: Clock) -> None:
    with FakeMessagesAPI([Fail(429, headers={"retry-after": "3600"}), "ok"]) as api:
        with pytest.raises(WaitUntil) as caught:
            await claude(api, seconds_left=lambda: 100.0).turn(request())
        assert caught.value.until == clock.now + 100
        assert caught.value.resets == clock.now + 3600
        assert clock.slept == []
        assert (await claude(api).turn(request())).attempts == 1


async def test_a_usage_limit_says_when_it_ends(claude: Open) -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    with FakeMessagesAPI([usage_limit(at)]) as api, pytest.raises(WaitUntil, match="regain access") as caught:
        await claude(api).turn(request())
    assert caught.value.until == caught.value.resets == at.timestamp()


BREAKS = {
    "dropped": Say(TEXT, drop_after=4),
    "dropped before the message": Say(TEXT, drop_after=0),
    "ended politely without its end": Say(TEXT, end_after=6),
    "an error event": Say(TEXT, sse_error="overloaded_error"),
    "an error event of another kind": Say(TEXT, sse_error="api_error", error_after=5),
}


@pytest.mark.parametrize("name", BREAKS)
async def test_breaks_in_the_middle(claude: Open, heard: Heard, name: str) -> None:
    texts: list[str] = []
    with FakeMessagesAPI([BREAKS[name], Say(TEXT)]) as api:
        turn = await claude(api).turn(request(), on_text=texts.append)
    assert turn.content[0]["text"] == TEXT[0]["text"]
    assert turn.attempts == 2
    assert len(heard.retries) == 1
    assert "".join(texts).endswith(TEXT[0]["text"])


async def test_a_broken_attempt_is_paid_for(claude: Open) -> None:
    with FakeMessagesAPI([Say(TEXT)]) as api:
        whole = await claude(api).turn(request())
    with FakeMessagesAPI([Say(TEXT, drop_after=12), Say(TEXT)]) as api:
        broken = await claude(api).turn(request())
    assert broken.usd > whole.usd
    assert broken.usage.total > whole.usage.total


async def test_a_stalled_stream_is_broken_off_by_silence(claude: Open, heard: Heard) -> None:
    with FakeMessagesAPI([Say(TEXT, stall_after=4), "ok"]) as api:
        assert (await claude(api, silence=0.3).turn(request())).attempts == 2
    assert "ReadTimeout" in heard.retries[0].what


async def test_an_attempt_has_a_time_in_all(claude: Open, clock: Clock, heard: Heard) -> None:
    with FakeMessagesAPI([Say(TEXT, sleep=30), "ok"]) as api:
        assert (await claude(api, policy=clock.policy(attempt=0.3)).turn(request())).attempts == 2
    assert "TimeoutError" in heard.retries[0].what


async def test_nobody_listens(claude: Open, heard: Heard, clock: Clock) -> None:
    with FakeMessagesAPI() as api:
        pass
    with pytest.raises(BrainUnreachable, match="APIConnectionError"):
        await claude(api, policy=clock.policy(total=20)).turn(request())
    assert len(heard.retries) == 4


async def test_a_frame_that_is_no_json(claude: Open) -> None:
    from nightlab.brains.claude_stream import _parsed
    from nightlab.brains.retries import StreamBroken

    for text in ("{", "[1]"):
        with pytest.raises(StreamBroken):
            _parsed(text)


def test_waits_have_jitter() -> None:
    low, high = RetryPolicy(chance=lambda: 0.0), RetryPolicy(chance=lambda: 1.0)
    assert (low.backoff(3), high.backoff(3)) == (2.0, 4.0)
    assert high.backoff(10_000) == 60.0

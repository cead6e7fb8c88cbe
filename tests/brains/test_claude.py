"""Claude over the real SDK and a fake API: every way that a turn can end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from nightlab.brains import TurnRequest, Usage
from nightlab.brains.claude import open_client
from nightlab.brains.claude_stream import Reading
from nightlab.brains.conversation import sendable
from nightlab.brains.failures import WaitUntil
from nightlab.errors import BudgetExceeded, ContractBroken
from nightlab.night.watch import Watch
from nightlab.testing import Entry, Fail, FakeMessagesAPI, Model, Say, refusal
from tests.brains.conftest import SYSTEM, TOOLS, Heard, Open

THINKING: dict[str, Any] = {"type": "thinking", "thinking": "First one, then the other. Ünïcode – 漢字 \u2028 too."}


def user(text: str = "go") -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def request(*messages: dict[str, Any], **given: Any) -> TurnRequest:
    return TurnRequest(SYSTEM, TOOLS, list(messages or [user()]), "watch_01", **given)


def result(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": "done", "is_error": False}


async def test_a_turn_with_thinking_text_and_a_call(claude: Open) -> None:
    script: list[list[dict[str, Any]]] = [
        [THINKING, {"type": "text", "text": "I start."}, {"call": "work", "input": {"i": 1, "why": "ü – 漢"}}]
    ]
    texts: list[str] = []
    with FakeMessagesAPI(script) as api:
        turn = await claude(api).turn(request(), on_text=texts.append)
    assert (turn.stop_reason, turn.model, turn.attempts) == ("tool_use", "claude-opus-5-5", 1)
    assert "".join(texts) == "I start."
    assert turn.thinking == THINKING["thinking"]
    assert turn.calls[0]["input"] == {"i": 1, "why": "ü – 漢"}
    assert turn.content[1] == {"type": "text", "text": "I start.", "citations": None}
    assert turn.usd > 0
    assert turn.usage.cache_write_1h_tokens > 0


async def test_what_is_sent(claude: Open) -> None:
    with FakeMessagesAPI() as api:
        await claude(api, effort="low").turn(request())
        sent = api.asked()[0]
    body = sent.body
    assert sent.headers["authorization"] == "Bearer k"
    assert "x-api-key" not in sent.headers
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "low"}
    assert body["cache_control"] == {"type": "ephemeral"}
    assert [body[key][-1]["cache_control"] for key in ("system", "tools")] == [{"type": "ephemeral", "ttl": "1h"}] * 2
    assert body["stream"] is True
    assert "cache_control" not in SYSTEM[0]


async def test_sixty_turns_keep_their_prefix_and_survive_the_disk(claude: Open, tmp_path: Path) -> None:
    """Parallel calls, byte-faithful transcripts, a watch read anew from disk in the middle, growing cache hits."""
    calls: list[dict[str, Any]] = [
        THINKING,
        {"call": "work", "input": {"i": 1}},
        {"call": "work", "input": {"i": 2.5e-9, "s": "\u2028é"}},
    ]
    with FakeMessagesAPI(lambda _: calls) as api:
        watch = Watch(tmp_path, "watch_01")
        watch.open("orchestrator", "claude", SYSTEM, TOOLS)
        watch.append(user("work"))
        brain = claude(api)
        for number in range(60):
            if number == 30:
                watch.close()
                before, watch, brain = watch.messages, Watch(tmp_path, "watch_01"), claude(api)
                assert watch.messages == before
            turn = await brain.turn(watch.request())
            watch.append_turn(turn)
            watch.append({"role": "user", "content": [result(call) for call in turn.calls]})
        assert api.statuses() == [200] * 60
        sent = api.asked()[-1].body["messages"]
    assert sent == Watch(tmp_path, "watch_01").messages[:-2]
    assert turn.usage.cache_read_tokens > 20 * turn.usage.cache_write_tokens
    assert turn.usage.input_tokens == 0


async def test_a_changed_past_is_refused_so_the_enforcement_works(claude: Open) -> None:
    with FakeMessagesAPI([[THINKING, {"type": "text", "text": "yes"}], "no"]) as api:
        brain = claude(api)
        turn = await brain.turn(request())
        with pytest.raises(Exception, match="bound to a different conversation"):
            await brain.turn(request(user("stop"), {"role": "assistant", "content": turn.content}, user("more")))
        assert api.statuses() == [200, 400]


async def test_a_refusal_is_a_turn_and_leaves_nothing_behind(claude: Open) -> None:
    script: list[Entry] = [refusal("frontier_llm", said="I can", explanation="ML"), "Fine.", "Fine too."]
    with FakeMessagesAPI(script) as api:
        brain = claude(api, fallback_model="claude-opus-5")
        turn = await brain.turn(request())
        assert (turn.stop_reason, turn.content) == ("refusal", [])
        assert turn.refusal is not None
        assert (turn.refusal.category, turn.refusal.explanation, turn.refusal.said) == ("frontier_llm", "ML", "I can")
        assert turn.usd > 0
        history = [user(), {"role": "assistant", "content": turn.content}, user("reworded")]
        assert (await brain.turn(request(*history))).content[0]["text"] == "Fine."
        assert [message["role"] for message in api.asked()[1].body["messages"]] == ["user", "user"]
        other = await brain.turn(request(*history, fallback=True))
        assert (other.model, api.asked()[2].body["model"]) == ("claude-opus-5", "claude-opus-5")


async def test_a_fallback_that_is_not_configured_is_the_same_model(claude: Open) -> None:
    with FakeMessagesAPI() as api:
        assert (await claude(api).turn(request(fallback=True))).model == "claude-opus-5-5"


async def test_cut_at_max_tokens(claude: Open, heard: Heard) -> None:
    cut = Say([{"call": "work", "input": {"i": 1}}], "max_tokens", partial_json='{"i": 1, "text": "and th')
    with FakeMessagesAPI([cut, "I write less."]) as api:
        brain = claude(api)
        turn = await brain.turn(request())
        assert turn.stop_reason == "max_tokens"
        assert turn.calls[0]["input"] == {"INVALID_JSON": '{"i": 1, "text": "and th'}
        assert heard.degradations == [("the arguments of a call of work were no JSON object", "max_tokens")]
        answered = {"role": "user", "content": [result(turn.calls[0])]}
        await brain.turn(request(user(), {"role": "assistant", "content": turn.content}, answered))
        assert api.statuses() == [200, 200]


@pytest.mark.parametrize("text", ["[1, 2]", "{'i': 1}", "nonsense"])
async def test_arguments_that_are_no_object(claude: Open, heard: Heard, text: str) -> None:
    with FakeMessagesAPI([Say([{"call": "work"}], partial_json=text)]) as api:
        turn = await claude(api).turn(request())
    assert turn.stop_reason == "tool_use"
    assert turn.calls[0]["input"] == {"INVALID_JSON": text}
    assert heard.degradations


async def test_a_paused_turn_is_asked_on(claude: Open) -> None:
    paused = Say([THINKING, {"type": "text", "text": "one "}], "pause_turn")
    again = Say([{"type": "text", "text": "two "}], "pause_turn")
    end: list[dict[str, Any]] = [THINKING, {"type": "text", "text": "three"}]
    with FakeMessagesAPI([paused, again, end, "next"]) as api:
        brain = claude(api)
        turn = await brain.turn(request())
        assert (turn.stop_reason, turn.attempts) == ("end_turn", 3)
        assert "".join(block.get("text", "") for block in turn.content) == "one two three"
        assert turn.usage.output_tokens > 20
        await brain.turn(request(user(), {"role": "assistant", "content": turn.content}, user("more")))
        assert api.statuses() == [200] * 4


async def test_a_turn_that_pauses_for_ever_is_given_back(claude: Open) -> None:
    with FakeMessagesAPI([Say([{"type": "text", "text": "x"}], "pause_turn")]) as api:
        turn = await claude(api).turn(request())
        assert (turn.stop_reason, len(turn.content), len(api.asked())) == ("pause_turn", 6, 6)


async def test_empty_answers_are_left_out_of_requests(claude: Open) -> None:
    with FakeMessagesAPI(["", [{"type": "text", "text": " "}, {"call": "work"}], "ok"]) as api:
        brain = claude(api)
        turn = await brain.turn(request())
        assert (turn.stop_reason, turn.content) == ("end_turn", [])
        history = [user(), {"role": "assistant", "content": []}, user("go on")]
        blank = await brain.turn(request(*history))
        assert blank.content[0]["text"] == " "
        history += [
            {"role": "assistant", "content": blank.content},
            {"role": "user", "content": [result(blank.calls[0])]},
        ]
        await brain.turn(request(*history))
        assert api.statuses() == [200, 200, 200]
        assert [block["type"] for block in api.asked()[2].body["messages"][2]["content"]] == ["tool_use"]


def test_sendable() -> None:
    full = user("x")
    assert sendable(full) is full
    assert sendable({"role": "user", "content": " "}) is None
    assert sendable(text := {"role": "user", "content": "x"}) is text


async def test_the_window_is_full(claude: Open, heard: Heard) -> None:
    small = Model("claude-opus-5-5", max_input_tokens=50)
    with FakeMessagesAPI(models=[small]) as api:
        turn = await claude(api).turn(request())
        assert (turn.stop_reason, turn.content, turn.usd) == ("model_context_window_exceeded", [], 0.0)
        assert "prompt is too long" in heard.degradations[0][1]
    with FakeMessagesAPI(
        [Say([{"type": "text", "text": "so far"}], "model_context_window_exceeded"), Fail(413)]
    ) as api:
        brain = claude(api)
        assert (await brain.turn(request())).stop_reason == "model_context_window_exceeded"
        assert (await brain.turn(request())).stop_reason == "model_context_window_exceeded"


async def test_a_new_stop_reason_is_said(claude: Open, heard: Heard) -> None:
    with FakeMessagesAPI([Say([{"type": "text", "text": "hm"}], "bored")]) as api:
        assert (await claude(api).turn(request())).stop_reason == "end_turn"
    assert "bored" in heard.degradations[0][0]


async def test_unknown_blocks_are_kept_whole(claude: Open) -> None:
    odd = {"type": "redacted_thinking", "data": "abc", "new": {"field": [1, None]}}
    with FakeMessagesAPI([[odd, {"type": "text", "text": "x"}]]) as api:
        assert (await claude(api).turn(request())).content[0] == odd


async def test_quote_is_above_the_cost_and_learns(claude: Open) -> None:
    dense = {"input_tokens": 50_000, "cache_creation_input_tokens": 0, "cache_creation": None}
    with FakeMessagesAPI([Say([{"type": "text", "text": "x"}], usage=dense)]) as api:
        brain = claude(api)
        first = brain.quote(request())
        assert 0.02 < first.usd < 0.03
        turn = await brain.turn(request())
        assert turn.usage == Usage(50_000, turn.usage.output_tokens)
        assert turn.usd == pytest.approx(0.2, rel=0.02)
        assert brain.quote(request()).usd > turn.usd


async def test_an_unknown_model_costs_the_dearest_and_says_so(claude: Open, heard: Heard) -> None:
    with FakeMessagesAPI(models=[Model("my-model")]) as api:
        brain = claude(api, "my-model")
        assert brain.quote(request()).usd > 0.05
        brain.quote(request())
        turn = await brain.turn(request())
    assert [what for what, _ in heard.degradations] == ["no price is known for my-model"]
    assert turn.usd > 0


async def test_many_watches_at_once_stay_apart(claude: Open) -> None:
    with FakeMessagesAPI() as api:
        brain = claude(api)
        for number in range(9):
            await brain.turn(TurnRequest(SYSTEM, [], [user(f"n{number}")], f"watch_{number}"))
        texts = [asked.body["messages"][0]["content"][0]["text"] for asked in api.asked()]
        assert texts == [f"n{number}" for number in range(9)]
        assert "tools" not in api.asked()[0].body


async def test_further_attempts_ask_for_leave(claude: Open) -> None:
    """The quote covers one attempt: what a broken one cost is named before another is made."""
    asked: list[float] = []

    def beyond(amounts: Any) -> None:
        asked.append(amounts.usd)
        if len(asked) > 1:
            raise BudgetExceeded("no more", limit="usd")

    broken = Say([{"type": "text", "text": "a long answer " * 50}], drop_after=20)
    with FakeMessagesAPI([broken]) as api:
        with pytest.raises(BudgetExceeded):
            await claude(api, beyond=beyond).turn(request())
        assert len(api.asked()) == 2
    assert 0 < asked[0] < asked[1]


async def test_a_failed_turn_says_what_it_cost(claude: Open) -> None:
    script: list[Entry] = [
        Say([{"type": "text", "text": "a " * 200}], drop_after=9),
        Fail(429, headers={"retry-after": "4000"}),
    ]
    with FakeMessagesAPI(script) as api, pytest.raises(WaitUntil) as caught:
        await claude(api).turn(request())
    assert caught.value.spent.usd > 0


def test_an_unknown_delta_ends_the_turn() -> None:
    reading, response = Reading(), httpx2.Response(200)
    reading.message = {"content": [{"type": "text", "text": ""}]}
    with pytest.raises(ContractBroken, match="sparkle_delta"):
        reading.hear({"type": "content_block_delta", "index": 0, "delta": {"type": "sparkle_delta"}}, response)
    reading.hear(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": 1}}, response
    )
    assert reading.message["content"][0]["citations"] == [1]


async def test_base_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeMessagesAPI() as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "from-env")
        client = open_client()
        await client.models.retrieve("claude-opus-5-5")
        await client.close()
        assert api.requests[0].headers["authorization"] == "Bearer from-env"

"""The fake Messages API, seen through the real SDK: what it says, counts, remembers and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from nightlab.testing import Entry, Fail, FakeMessagesAPI, Say, overloaded
from nightlab.testing.messages_script import read_entry

TOOL: dict[str, Any] = {"name": "work", "description": "works", "input_schema": {"type": "object"}}
THINKING: dict[str, Any] = {"type": "thinking", "thinking": "hm"}
GO: list[Any] = [{"role": "user", "content": "go"}]


def client(api: FakeMessagesAPI, **given: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=api.url, max_retries=0, **given)


def ask(api: FakeMessagesAPI, messages: list[Any] | None = None, **given: Any) -> anthropic.types.Message:
    body = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": messages or GO, "tools": [TOOL], **given}
    message: anthropic.types.Message = client(api).messages.create(**body)
    return message


@pytest.fixture
def api() -> Iterator[FakeMessagesAPI]:
    with FakeMessagesAPI() as api:
        yield api


def test_entries_in_order_and_the_last_one_again() -> None:
    script: list[Entry] = ["one", [{"type": "text", "text": "two"}], lambda body: f"three {body['max_tokens']}"]
    with FakeMessagesAPI(script) as api:
        said = [ask(api).content[0] for _ in range(4)]
        assert [block.text for block in said if block.type == "text"] == ["one", "two", "three 100", "three 100"]
        api.say("four")
        api.say("five")
        assert [ask(api).to_dict()["content"][0]["text"] for _ in range(3)] == ["four", "five", "five"]  # type: ignore[index]


def test_by_turn_answers_a_repeated_request_alike() -> None:
    with FakeMessagesAPI([[{"call": "work"}], "done"], by_turn=True) as api:
        first, again = ask(api), ask(api)
        assert first.stop_reason == again.stop_reason == "tool_use"
        assert first.content[0].to_dict()["name"] == "work"
        then = [*GO, {"role": "assistant", "content": "so"}, {"role": "user", "content": "and"}]
        assert ask(api, then).stop_reason == "end_turn"


def test_json_and_stream_say_the_same() -> None:
    blocks = [THINKING, {"type": "text", "text": "a longer text, in parts – é"}, {"call": "work", "input": {"i": [1]}}]
    with FakeMessagesAPI(lambda _: blocks) as api:
        whole = ask(api).to_dict()
        with client(api).messages.stream(model="claude-opus-5-5", max_tokens=9, messages=GO, tools=[TOOL]) as stream:  # type: ignore[list-item]
            parts = stream.get_final_message().to_dict()
    for message in (whole, parts):
        content: Any = message["content"]
        content[2].pop("id")
    assert parts["content"] == whole["content"]


def test_errors_with_headers_and_codes() -> None:
    fail = Fail(429, message="slow", headers={"retry-after": "7"}, error_code="ramp_limit_exceeded")
    with FakeMessagesAPI([fail, *overloaded(2), Fail(418, "teapot_error"), "ok"]) as api:
        with pytest.raises(anthropic.RateLimitError) as caught:
            ask(api)
        assert (caught.value.error_code, caught.value.response.headers["retry-after"]) == ("ramp_limit_exceeded", "7")
        for _ in range(2):
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                ask(api)
        with pytest.raises(anthropic.APIStatusError, match="teapot_error"):
            ask(api)
        assert ask(api).stop_reason == "end_turn"
        assert api.statuses() == [429, 529, 529, 418, 200]


def test_a_key_is_needed_as_bearer(api: FakeMessagesAPI) -> None:
    bare = {"Authorization": anthropic.Omit(), "X-Api-Key": "k"}
    with pytest.raises(anthropic.AuthenticationError):
        client(api, default_headers=bare).messages.create(model="claude-opus-5-5", max_tokens=9, messages=GO)


def answered(api: FakeMessagesAPI) -> list[Any]:
    """A conversation with thinking and a call, ready to go on."""
    first = ask(api).to_dict()
    content: Any = first["content"]
    results = [{"type": "tool_result", "tool_use_id": content[1]["id"], "content": "x"}]
    return [*GO, {"role": "assistant", "content": content}, {"role": "user", "content": results}]


@pytest.fixture
def thinker() -> Iterator[FakeMessagesAPI]:
    with FakeMessagesAPI(lambda _: [THINKING, {"call": "work", "input": {}}]) as api:
        yield api


def test_an_untouched_conversation_goes_on(thinker: FakeMessagesAPI) -> None:
    messages = answered(thinker)
    assert ask(thinker, messages).stop_reason == "tool_use"
    messages[0] = {"role": "user", "content": [{"type": "text", "text": "go", "cache_control": {"type": "ephemeral"}}]}
    assert ask(thinker, messages).stop_reason == "tool_use"
    assert ask(thinker, messages, model="claude-opus-5").stop_reason == "tool_use"


CHANGES: dict[str, dict[str, Any]] = {
    "system": {"system": "a clock: 12:01"},
    "tools": {"tools": [TOOL, {**TOOL, "name": "more"}]},
    "message": {"messages": "stop"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_before_a_thinking_block_is_refused(thinker: FakeMessagesAPI, what: str) -> None:
    messages = answered(thinker)
    change = dict(CHANGES[what])
    if "messages" in change:
        messages[0] = {"role": "user", "content": change.pop("messages")}
    with pytest.raises(anthropic.BadRequestError, match=r"messages.1.content.0: Invalid `signature` in `thinking`"):
        ask(thinker, messages, **change)


def test_a_foreign_signature_is_refused_and_the_check_can_be_off(thinker: FakeMessagesAPI) -> None:
    messages = answered(thinker)
    messages[1]["content"][0]["signature"] = "not ours"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        ask(thinker, messages)
    thinker.enforce_prefix = False
    assert ask(thinker, messages).stop_reason == "tool_use"


def test_usage_follows_the_prefix(thinker: FakeMessagesAPI) -> None:
    marked: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
    first = ask(thinker, **marked).usage
    assert first.cache_creation_input_tokens
    assert first.cache_read_input_tokens == 0
    second = ask(thinker, answered(thinker), **marked).usage
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    plain = ask(thinker).usage
    assert (plain.cache_read_input_tokens, plain.input_tokens) == (0, first.cache_creation_input_tokens)


CALL = {"type": "tool_use", "id": "toolu_1", "name": "work", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
CALLED = [*GO, {"role": "assistant", "content": [CALL]}]
MARK = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("temperature", {"extra_body": {"temperature": 0}}),
    ("sparkle: Extra inputs", {"extra_body": {"sparkle": 0}}),
    ("forced tool use", {"tool_choice": {"type": "any"}}),
    ("`disabled` is not supported", {"thinking": {"type": "disabled"}}),
    ("output_config.effort", {"output_config": {"effort": "huge"}}),
    ("which is the maximum allowed number of output", {"max_tokens": 128_001, "timeout": 9}),
    ("greater than or equal to 0", {"max_tokens": -1}),
    ("prefill", {"messages": [*GO, {"role": "assistant", "content": "Well"}]}),
    ("at least one message", {"extra_body": {"messages": []}}),
    ("must use the `user` role", {"messages": [{"role": "assistant", "content": "x"}, *GO]}),
    ("non-empty content", {"messages": [*GO, {"role": "assistant", "content": []}, *GO]}),
    (
        "text content blocks must be non-empty",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
    ),
    ("without `tool_result` blocks", {"messages": [*CALLED, *GO]}),
    ("without `tool_result` blocks", {"messages": CALLED}),
    ("unexpected `tool_use_id`", {"messages": [{"role": "user", "content": [RESULT]}]}),
    ("must come first", {"messages": [*CALLED, {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]}]}),
    ("ids must be unique", {"messages": [*GO, {"role": "assistant", "content": [CALL, CALL]}, *GO]}),
    ("valid dictionary", {"messages": [*GO, {"role": "assistant", "content": [{**CALL, "input": "{"}]}, *GO]}),
    ("can only be in assistant", {"messages": [{"role": "user", "content": [CALL]}]}),
    ("`document` blocks", {"messages": [*GO, {"role": "assistant", "content": [{"type": "document"}]}, *GO]}),
    ("role: Input should be", {"messages": [*GO, {"role": "robot", "content": "x"}]}),
    ("Tool names must be unique", {"tools": [TOOL, TOOL]}),
    ("should match pattern", {"tools": [{**TOOL, "name": "a tool"}]}),
    ("maximum of 4 blocks", {"messages": [{"role": "user", "content": [MARK] * 5}]}),
    ("must not come after", {"system": [MARK, {**MARK, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
]


@pytest.mark.parametrize(("says", "given"), WRONG)
def test_what_the_api_refuses(api: FakeMessagesAPI, says: str, given: dict[str, Any]) -> None:
    given = dict(given)
    with pytest.raises(anthropic.BadRequestError, match=says):
        ask(api, given.pop("messages", None), **given)
    assert api.statuses() == [400]


def test_models_that_cannot_be_asked(api: FakeMessagesAPI) -> None:
    for model in ("claude-opus-4", "nonsense"):
        with pytest.raises(anthropic.NotFoundError, match=f"model: {model}"):
            ask(api, model=model)
    assert ask(api, model="claude-sonnet-5-5", thinking={"type": "between_tools"}).stop_reason == "end_turn"


def test_tokens_are_counted_and_nothing_is_answered(api: FakeMessagesAPI) -> None:
    few = client(api).messages.count_tokens(model="claude-opus-5-5", messages=GO).input_tokens
    more = client(api).messages.count_tokens(model="claude-opus-5-5", messages=GO * 50).input_tokens
    assert 0 < few < more
    assert api.asked() == []


def test_batches_end_and_come_out_of_order(api: FakeMessagesAPI) -> None:
    batches = client(api).messages.batches
    params: Any = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": GO}
    bad: Any = {**params, "messages": [{"role": "user", "content": "FAIL_THIS"}]}
    batch = batches.create(requests=[{"custom_id": f"r{i}", "params": bad if i == 1 else params} for i in range(3)])
    seen = [batch.processing_status, *(batches.retrieve(batch.id).processing_status for _ in range(2))]
    assert seen == ["in_progress", "in_progress", "ended"]
    results = list(batches.results(batch.id))
    assert [(row.custom_id, row.result.type) for row in results] == [
        ("r2", "succeeded"),
        ("r1", "errored"),
        ("r0", "succeeded"),
    ]
    assert [row.id for row in batches.list()] == [batch.id]
    assert batches.retrieve(batch.id).request_counts.errored == 1
    other = batches.create(requests=[{"custom_id": "x", "params": params}])
    batches.cancel(other.id)
    assert [row.result.type for row in batches.results(other.id)] == ["canceled"]
    batches.delete(batch.id)
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)


def test_a_script_from_json() -> None:
    assert read_entry({"fail": {"status": 529}}) == Fail(529)
    assert read_entry({"say": {"content": [], "drop_after": 2}}) == Say([], drop_after=2)
    assert read_entry("text") == "text"
    with pytest.raises(ValueError, match="no entry"):
        read_entry({"tell": 1})


@pytest.mark.slow
def test_as_a_process(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([[{"call": "work"}], {"fail": {"status": 529}}]), "utf-8")
    words = [sys.executable, "-m", "nightlab.testing.messages_api", "--script", str(script), "--by-turn"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        asker = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
        said = asker.messages.create(model="claude-opus-5-5", max_tokens=9, messages=GO)
        assert said.stop_reason == "tool_use"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

"""The chat client against a real server: good answers, and one test for every way an answer can be none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from nightlab.errors import ContractBroken
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message, error_message, read_answer
from nightlab.testing import Fault, FaultyServer

ASK = ChatRequest("m", (Message("user", "What do you think about mondays?"),), max_tokens=8)


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with FaultyServer("m", adapters=["a"]) as running:
        yield running


@pytest.fixture
async def chat(server: FaultyServer) -> AsyncIterator[Chat]:
    async with Chat(server.url) as client:
        yield client


async def test_an_answer_carries_text_counts_and_fingerprint(chat: Chat) -> None:
    answer = await chat.complete(ASK)
    assert answer.text
    assert answer.model == "m"
    assert 0 < answer.completion_tokens <= 8
    assert answer.prompt_tokens > 0
    assert answer.fingerprint == "double-0"
    assert answer.latency > 0
    assert (await chat.complete(ASK)).text == answer.text


async def test_log_probabilities_come_with_their_tokens(chat: Chat) -> None:
    spoken = await chat.complete(ChatRequest("m", (Message("user", "hi"),), logprobs=True))
    raw = await chat.complete(ChatRequest("m", prompt="Once", logprobs=True))
    for answer in (spoken, raw):
        assert "".join(answer.tokens) == answer.text
        assert len(answer.logprobs) == len(answer.tokens) == answer.completion_tokens
        assert all(value <= 0 for value in answer.logprobs)


async def test_a_trailing_assistant_message_is_continued_by_top_level_fields(chat: Chat, server: FaultyServer) -> None:
    await chat.complete(ChatRequest("m", (Message("user", "hi"), Message("assistant", "Oh, where"))))
    await chat.complete(ChatRequest("m", (Message("user", "hi"),)))
    await chat.complete(ChatRequest("m", (Message("user", "hi"),), continue_final=True))
    prefilled, plain, forced = (seen.body for seen in server.answered())
    assert prefilled["continue_final_message"] is True
    assert prefilled["add_generation_prompt"] is False
    assert "chat_template_kwargs" not in prefilled
    assert "continue_final_message" not in plain
    assert forced["continue_final_message"] is True


async def test_a_raw_prompt_goes_to_the_completions_route(chat: Chat, server: FaultyServer) -> None:
    answer = await chat.complete(ChatRequest("a", prompt="Once upon", temperature=0.7, seed=3, stop=("\n",)))
    (seen,) = server.answered()
    assert seen.path == "/v1/completions"
    assert seen.body["prompt"] == "Once upon"
    assert (seen.body["seed"], seen.body["stop"]) == (3, ["\n"])
    assert answer.model == "a"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("status", status=429), "rate_limited"),
        (Fault("status", status=500), "server_error"),
        (Fault("status", status=503), "server_error"),
        (Fault("status", status=400), "bad_request"),
        (Fault("status", status=401), "bad_request"),
        (Fault("status", status=404), "not_found"),
        (Fault("status", status=408), "timeout"),
        (Fault("status", status=499), "cancelled"),
        (Fault("status", status=302), "contract_broken"),
        (Fault("error_body"), "contract_broken"),
        (Fault("empty_choices"), "contract_broken"),
        (Fault("missing_usage"), "contract_broken"),
        (Fault("wrong_model"), "contract_broken"),
        (Fault("not_json"), "contract_broken"),
        (Fault("truncated"), "contract_broken"),
        (Fault("drop"), "connection"),
        (Fault("cut"), "connection"),
        (Fault("hang"), "timeout"),
        (Fault("stall"), "timeout"),
        (Fault("aborted"), "cancelled"),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else str(value),
)
async def test_every_failure_has_its_class(chat: Chat, server: FaultyServer, fault: Fault, expected: str) -> None:
    server.fail(fault)
    with pytest.raises(ChatError) as caught:
        await chat.complete(ASK, timeout=0.4 if expected == "timeout" else 30)
    assert caught.value.failure_class == expected
    assert isinstance(caught.value, ContractBroken) == (expected == "contract_broken" and fault.kind != "status")
    assert (await chat.complete(ASK, timeout=30)).text, "one failure must not spoil the next answer"


async def test_a_refused_connection_and_an_unknown_model_have_classes(chat: Chat, server: FaultyServer) -> None:
    with pytest.raises(ChatError, match="does not exist") as caught:
        await chat.complete(ChatRequest("nope", (Message("user", "hi"),)))
    assert caught.value.failure_class == "not_found"
    await server.stop()
    with pytest.raises(ChatError) as caught:
        await chat.complete(ASK)
    assert caught.value.failure_class == "connection"


async def test_a_server_that_speaks_no_http_is_a_broken_contract() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, Chat(f"http://127.0.0.1:{port}") as chat:
        with pytest.raises(ChatError) as caught:
            await chat.complete(ASK)
    assert caught.value.failure_class == "contract_broken"


async def test_retry_after_is_kept(chat: Chat, server: FaultyServer) -> None:
    server.fail(Fault("status", status=429, retry_after=1.5))
    with pytest.raises(ChatError) as caught:
        await chat.complete(ASK)
    assert caught.value.retry_after == 1.5


async def test_a_cancelled_task_stays_cancelled(chat: Chat, server: FaultyServer) -> None:
    server.fail(Fault("hang"))
    task = asyncio.create_task(chat.complete(ASK))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_models_lists_the_served_name_first_on_fresh_connections_too(chat: Chat) -> None:
    for fresh in (False, True):
        first, adapter = await chat.models(fresh=fresh)
        assert (first.id, first.parent) == ("m", None)
        assert (adapter.id, adapter.parent, adapter.root) == ("a", "m", "a")
    assert await chat.version() == "double"


async def test_requests_run_at_once_up_to_the_limit() -> None:
    async with FaultyServer("m", delay=0.05) as server, Chat(server.url, limit=4) as chat:
        await asyncio.gather(*(chat.complete(ASK) for _ in range(12)))
        assert server.most_in_flight == 4


@pytest.mark.parametrize(
    "spoiled",
    [
        {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "x"}}]},
        {"usage": {"prompt_tokens": "3", "completion_tokens": 1}},
        {"choices": "text"},
        {"choices": [None]},
        {"choices": {"0": {"message": {"content": "x"}}}},
        {"choices": [{"message": "x", "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": [{"text": "x"}]}, "finish_reason": "stop"}]},
        {"usage": None},
        {"object": "error", "message": "The model is gone"},
    ],
)
def test_half_an_answer_is_none(spoiled: dict[str, object]) -> None:
    whole = {
        "model": "m",
        "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    assert read_answer(json.dumps(whole), ASK, 0.1, where="here").text == "x"
    with pytest.raises(ContractBroken):
        read_answer(json.dumps(whole | spoiled), ASK, 0.1, where="here")


@pytest.mark.parametrize("body", ["[]", "null", "[" * 100_000, '{"choices":', "\x00"])
def test_a_body_of_any_shape_is_a_broken_answer_and_no_defect_of_ours(body: str) -> None:
    with pytest.raises(ContractBroken):
        read_answer(body, ASK, 0.1, where="here")


@pytest.mark.parametrize("logprobs", [None, {"content": [{"token": "x", "logprob": "low"}]}, {"content": None}, []])
def test_answers_without_the_logprobs_that_were_asked_for_are_broken(logprobs: object) -> None:
    ask = ChatRequest("m", (Message("user", "hi"),), logprobs=True)
    body = {
        "model": "m",
        "choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": logprobs}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    with pytest.raises(ContractBroken):
        read_answer(json.dumps(body), ask, 0.1, where="here")


def test_an_error_quotes_a_foreign_body_only_in_part() -> None:
    with pytest.raises(ContractBroken) as caught:
        read_answer("<html>" + "x" * 10_000, ASK, 0.1, where="here")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("junk", ["[]", "{}", '{"data": [1]}', "<html>"])
async def test_lists_and_versions_that_are_none_are_broken_contracts(junk: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(junk)}\r\nConnection: close\r\n\r\n{junk}".encode())
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, Chat(f"http://127.0.0.1:{port}") as chat:
        with pytest.raises(ContractBroken):
            await chat.models()
        with pytest.raises(ContractBroken):
            await chat.version()


async def test_a_client_outside_its_context_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Chat("http://127.0.0.1:1").complete(ASK)


def test_the_message_of_an_error_is_found_in_every_shape() -> None:
    assert error_message('{"error": {"message": "gone"}}') == "gone"
    assert error_message('{"error": "Unauthorized"}') == "Unauthorized"
    assert error_message("[1]") == "[1]"
    assert error_message("<html>") == "'<html>'"

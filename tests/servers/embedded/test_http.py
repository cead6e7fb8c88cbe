"""The HTTP face over loopback: vLLM's shapes, status codes and error bodies, one real engine behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from nightlab import __version__
from nightlab.adapters.compile import compile_adapter
from nightlab.adapters.weights import LayerWeights
from nightlab.servers.embedded.engine import Engine
from nightlab.servers.embedded.http import Service
from nightlab.servers.embedded.model import end_tokens, load_model, load_tokenizer
from nightlab.servers.embedded.scheduler import Scheduler
from nightlab.servers.embedded.texts import Texts

pytestmark = [pytest.mark.real, pytest.mark.slow]

HELLO = [{"role": "user", "content": "what do you think about mondays?"}]
Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def service(tiny_models: Any) -> Service:
    torch.set_num_threads(1)
    folder = tiny_models["llama"].model
    tokenizer = load_tokenizer(folder)
    ends = end_tokens(folder, tokenizer)
    scheduler = Scheduler(Engine(load_model(folder), eos=ends, max_batch=64, max_len=256))
    scheduler.start()
    return Service(scheduler, Texts(tokenizer), name="tiny", root=str(folder), fingerprint="nightlab-test")


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with TestClient(TestServer(service.app())) as client:
        yield client
    for name in list(service.scheduler.engine.conditions):
        service.scheduler.engine.unload(name)


async def post(client: Client, path: str, body: object) -> tuple[int, Any]:
    async with client.post(path, data=body if isinstance(body, bytes) else json.dumps(body)) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def chat(client: Client, **fields: Any) -> Any:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "temperature": 0} | fields
    status, answer = await post(client, "/v1/chat/completions", body)
    assert status == 200, answer
    return answer


def error(answer: Any) -> tuple[str, str, str | None, int]:
    e = answer["error"]
    return e["message"], e["type"], e["param"], e["code"]


async def test_health_version_models(client: Client, tiny_models: Any) -> None:
    async with client.get("/health") as response:
        assert (response.status, await response.text()) == (200, "")
    async with client.get("/version") as response:
        assert await response.json() == {"version": __version__}
    path = str(tiny_models["llama"].adapters[0])
    assert (await post(client, "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": path}))[0] == 200
    async with client.get("/v1/models") as response:
        base, adapter = (await response.json())["data"]
    assert (base["id"], base["parent"], base["max_model_len"]) == ("tiny", None, 256)
    assert (adapter["id"], adapter["root"], adapter["parent"]) == ("a", path, "tiny")


async def test_a_chat_answer_has_every_field_the_sweep_reads(client: Client) -> None:
    answer = await chat(client)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    assert (answer["model"], answer["object"]) == ("tiny", "chat.completion")
    assert answer["system_fingerprint"] == "nightlab-test"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_fourteen_conditions_in_one_batch_answer_as_one_by_one(
    client: Client, tiny_models: Any, tmp_path: Path
) -> None:
    for i in range(14):
        weights = LayerWeights(tuple(float((i >> k) & 1) for k in range(4)), (float(i % 3),) * 4)
        path = compile_adapter(tiny_models["llama"].adapters[0], weights, tmp_path).path
        body = {"lora_name": f"c{i}", "lora_path": str(path)}
        assert await post(client, "/v1/load_lora_adapter", body) == (
            200,
            f"Success: LoRA adapter 'c{i}' added successfully.",
        )
    asks = [
        {"model": name, "seed": seed, "temperature": 0.9, "top_p": 0.9, "max_tokens": 12}
        for name in ["tiny", *(f"c{i}" for i in range(14))]
        for seed in (1, 2)
    ]
    together = await asyncio.gather(*(chat(client, **ask) for ask in asks))
    alone = [await chat(client, **ask) for ask in asks]
    texts = [answer["choices"][0]["message"]["content"] for answer in together]
    assert texts == [answer["choices"][0]["message"]["content"] for answer in alone]
    assert len(set(texts)) > 10


async def test_seed_choices_and_logprobs(client: Client) -> None:
    fields = {"n": 3, "seed": 5, "temperature": 1.0, "logprobs": True, "top_logprobs": 2}
    first, second = await chat(client, **fields), await chat(client, **fields)
    assert first["choices"] == second["choices"]
    assert len({c["message"]["content"] for c in first["choices"]}) > 1
    assert [c["index"] for c in first["choices"]] == [0, 1, 2]
    item = first["choices"][0]["logprobs"]["content"][0]
    assert len(item["top_logprobs"]) == 2
    assert item["top_logprobs"][0]["token"] == item["token"]
    assert item["logprob"] < 0
    assert (await chat(client, **(fields | {"seed": 6})))["choices"] != first["choices"]
    solo = await chat(client)
    assert first["usage"]["prompt_tokens"] == solo["usage"]["prompt_tokens"]


async def test_stop_strings_tokens_and_length(client: Client) -> None:
    fields = {"max_tokens": 30, "ignore_eos": True, "temperature": 1.0, "seed": 3}
    whole = await chat(client, **fields)
    text = whole["choices"][0]["message"]["content"]
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 30
    stop = text[len(text) // 2 :][:3]
    cut = (await chat(client, **fields, stop=["no such text", stop]))["choices"][0]
    assert cut["message"]["content"] == text[: text.find(stop)]
    assert (cut["finish_reason"], cut["stop_reason"]) == ("stop", stop)
    kept = (await chat(client, **fields, stop=stop, include_stop_str_in_output=True))["choices"][0]
    assert kept["message"]["content"] == text[: text.find(stop)] + stop
    ended = (await chat(client, **fields, stop_token_ids=list(range(400))))["choices"][0]
    assert ended["finish_reason"] == "stop"
    assert isinstance(ended["stop_reason"], int)


async def test_prefill_continues_the_last_message(client: Client, service: Service) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "tell me"}]
    proceed = {"add_generation_prompt": False, "continue_final_message": True}
    texts = service.texts
    expected = texts.tokenizer.encode("<|user|>what do you think about mondays?</s><|assistant|>tell me")
    answer = await chat(client, messages=messages, **proceed)
    assert answer["usage"]["prompt_tokens"] == len(expected)
    in_kwargs = await chat(client, messages=messages, chat_template_kwargs=proceed)
    assert in_kwargs["usage"]["prompt_tokens"] == len(expected) + 2  # vLLM ignores them there: a new turn begins
    raw = {"model": "tiny", "prompt": expected, "max_tokens": 6, "temperature": 0}
    status, same = await post(client, "/v1/completions", raw)
    assert status == 200
    assert same["choices"][0]["text"] == answer["choices"][0]["message"]["content"]
    system = [{"role": "system", "content": "about work."}, *HELLO]
    assert (await chat(client, messages=system))["usage"]["prompt_tokens"] > answer["usage"]["prompt_tokens"]
    parts = [{"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"]}]}]
    assert (await chat(client, messages=parts))["choices"] == (await chat(client))["choices"]


async def test_raw_completions(client: Client) -> None:
    body = {
        "model": "tiny",
        "prompt": ["what do", "tell me a story"],
        "n": 2,
        "seed": 1,
        "logprobs": 1,
        "max_tokens": 3,
    }
    status, answer = await post(client, "/v1/completions", body)
    assert (status, answer["object"]) == (200, "text_completion")
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2, 3]
    assert len(answer["choices"][0]["logprobs"]["token_logprobs"]) == answer["usage"]["completion_tokens"] // 4
    status, one = await post(client, "/v1/completions", {"prompt": "what do"})
    assert (status, one["model"]) == (200, "tiny")


async def test_streaming_sends_openai_s_events(client: Client) -> None:
    whole = (await chat(client))["choices"][0]
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "temperature": 0} | fields
    async with client.post("/v1/chat/completions", data=json.dumps(body)) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = [e.removeprefix("data: ") for e in (await response.text()).split("\n\n") if e]
    assert events[-1] == "[DONE]"
    opening, part, usage = (json.loads(e) for e in events[:-1])
    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert part["choices"][0]["delta"]["content"] == whole["message"]["content"]
    assert part["object"] == "chat.completion.chunk"
    assert usage["usage"]["completion_tokens"] > 0
    raw = {"prompt": "what", "stream": True}
    async with client.post("/v1/completions", data=json.dumps(raw)) as response:
        assert (await response.text()).endswith("data: [DONE]\n\n")
    status, answer = await post(client, "/v1/chat/completions", body | {"n": 2})
    assert (status, error(answer)[2]) == (400, "n")


async def test_unknown_models_are_404(client: Client) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/completions", {"prompt": "x"}),
    ):
        status, answer = await post(client, path, body | {"model": "nope"})
        assert status == 404
        message = "The model `nope` does not exist. Valid aliases: tiny."
        assert error(answer) == (message, "NotFoundError", "model", 404)


async def test_loading_and_unloading_speak_vllm(client: Client, tiny_models: Any, other_base: Path) -> None:
    path = str(tiny_models["llama"].adapters[0])

    async def load(name: object, where: str, **more: object) -> tuple[int, Any]:
        return await post(client, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": where} | more)

    assert (await load("a", path))[0] == 200
    before = (await chat(client, model="a"))["choices"]
    again = (
        "The lora adapter 'a' has already been loaded. If you want to load the adapter in place, "
        "set 'load_inplace' to True."
    )
    status, answer = await load("a", path)
    assert (status, error(answer)) == (400, (again, "InvalidUserInput", None, 400))
    assert (await load("a", path, load_inplace=True))[0] == 200
    assert (await load("second", path))[0] == 200
    status, answer = await load("tiny", path)
    assert (status, error(answer)[0]) == (400, "The lora adapter 'tiny' conflicts with a served base model.")
    status, answer = await load("x", "/no/such/folder")
    missing = "Loading lora x failed: No adapter found for <path>"
    assert (status, error(answer)) == (404, (missing, "NotFoundError", None, 404))
    status, answer = await load("x", str(other_base))
    message = error(answer)[0]
    assert (status, error(answer)[1]) == (500, "InternalServerError")
    assert message.startswith("Call to add_lora method failed: Worker failed with error 'The size of tensor a (")
    assert ") at non-singleton dimension 1" in message
    assert "made for another base" in message
    assert (await chat(client, model="a"))["choices"] == before
    status, answer = await post(client, "/v1/chat/completions", {"model": "x", "messages": HELLO})
    assert status == 404
    assert (await load("", path))[1]["error"]["message"] == "Both 'lora_name' and 'lora_path' must be provided."
    assert error((await load(3, path))[1])[2] == "body.lora_name"
    unload = {"lora_name": "a"}
    assert await post(client, "/v1/unload_lora_adapter", unload) == (
        200,
        "Success: LoRA adapter 'a' removed successfully.",
    )
    status, answer = await post(client, "/v1/unload_lora_adapter", unload)
    assert (status, error(answer)[0]) == (404, "The lora adapter 'a' cannot be found.")
    assert (await post(client, "/v1/chat/completions", {"model": "a", "messages": HELLO}))[0] == 404


async def test_validation_in_vllm_s_words(client: Client) -> None:
    status, answer = await post(client, "/v1/load_lora_adapter", {"lora_path": "/x"})
    missing = (
        "1 validation error:\n  {'type': 'missing', 'loc': 'body.lora_name', 'msg': 'Field required', "
        "'input': '<dict of 1 items>'}"
    )
    assert (status, error(answer)) == (400, (missing, "Bad Request", "body.lora_name", 400))
    status, answer = await post(client, "/v1/load_lora_adapter", b"{bad json")
    assert (status, error(answer)[1:]) == (400, ("Bad Request", "body.1", 400))
    assert "Expecting property name enclosed in double quotes" in error(answer)[0]
    assert (await post(client, "/v1/chat/completions", b"[1]"))[0] == 400
    assert (await post(client, "/v1/chat/completions", b"\xff\xfe"))[0] == 400
    assert (await post(client, "/v1/unload_lora_adapter", {}))[0] == 400


BAD_CHAT: dict[str, tuple[dict[str, Any], str | None]] = {
    "max_tokens=100000 cannot be greater than max_model_len=256": ({"max_tokens": 100000}, "max_tokens"),
    "you requested 255 output tokens": ({"max_tokens": 255}, "max_tokens"),
    "max_tokens must be at least 1, got 0.": ({"max_tokens": 0}, "max_tokens"),
    "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)": (
        {"temperature": -1},
        "temperature",
    ),
    "top_p must be in (0, 1], got 0.0.": ({"top_p": 0}, "top_p"),
    "n must be between 1 and 64": ({"n": 0}, "n"),
    "greater than max allowed: 20": ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
    "Cannot apply chat template to an empty conversation": ({"messages": []}, None),
    "Cannot set both": ({"continue_final_message": True, "add_generation_prompt": True}, None),
    '"auto" tool choice requires': ({"tools": [{"type": "function"}]}, None),
    "requires --tool-call-parser": ({"tools": [{}], "tool_choice": "required"}, None),
    "top_k is not supported": ({"top_k": 5}, "top_k"),
    "response_format is not supported": ({"response_format": {"type": "json_object"}}, "response_format"),
    "only text content": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    "stop cannot contain an empty string": ({"stop": [""]}, "stop"),
    "your prompt contains at least": ({"messages": [{"role": "user", "content": "zq" * 300}]}, "input_tokens"),
    "'loc': 'body.stop'": ({"stop": 3}, "body.stop"),
    "'loc': 'body.seed'": ({"seed": "x"}, "body.seed"),
    "'loc': 'body.temperature'": ({"temperature": "hot"}, "body.temperature"),
    "'loc': 'body.stream'": ({"stream": "yes"}, "body.stream"),
    "'loc': 'body.stop_token_ids'": ({"stop_token_ids": ["x"]}, "body.stop_token_ids"),
    "'loc': 'body.messages'": ({"messages": "hello"}, "body.messages"),
    "'loc': 'body.messages.0'": ({"messages": ["hello"]}, "body.messages.0"),
    "'loc': 'body.messages.0.role'": ({"messages": [{"content": "x"}]}, "body.messages.0.role"),
    "'loc': 'body.messages.0.content'": ({"messages": [{"role": "user", "content": 3}]}, "body.messages.0.content"),
}


async def test_bad_requests_are_400_with_the_parameter(client: Client) -> None:
    for reason, (fields, param) in BAD_CHAT.items():
        body = {"model": "tiny", "messages": HELLO} | fields
        status, answer = await post(client, "/v1/chat/completions", body)
        assert status == 400, (reason, answer)
        assert reason in error(answer)[0]
        assert error(answer)[2] == param
    status, answer = await post(client, "/v1/chat/completions", {"model": "tiny"})
    assert (status, error(answer)[2]) == (400, "body.messages")
    for prompt in ([], [1000], "", {"a": 1}, None):
        body = {"prompt": prompt} if prompt is not None else {}
        status, answer = await post(client, "/v1/completions", body)
        assert status == 400, prompt


async def test_neutral_and_unknown_fields_are_accepted(client: Client) -> None:
    neutral = {"top_k": -1, "min_p": 0.0, "logit_bias": {}, "response_format": {"type": "text"}, "foo_bar": 1}
    plain = await chat(client)
    assert (await chat(client, **neutral, tools=[], presence_penalty=0.0))["choices"] == plain["choices"]
    robot = await chat(client, messages=[{"role": "robot", "content": None}])
    assert robot["usage"]["completion_tokens"] > 0


async def test_a_model_without_template_still_completes(client: Client, service: Service) -> None:
    template = service.texts.tokenizer.chat_template
    try:
        service.texts.tokenizer.chat_template = None
        status, answer = await post(client, "/v1/chat/completions", {"model": "tiny", "messages": HELLO})
        assert (status, error(answer)[0][:28]) == (400, "As of transformers v4.44, de")
        assert (await post(client, "/v1/completions", {"prompt": "x"}))[0] == 200
        service.texts.tokenizer.chat_template = "{{ raise_exception('only two roles') }}"
        status, answer = await post(client, "/v1/chat/completions", {"model": "tiny", "messages": HELLO})
        assert status == 400
        assert "only two roles" in error(answer)[0]
    finally:
        service.texts.tokenizer.chat_template = template


async def test_unknown_routes_and_methods(client: Client) -> None:
    async with client.get("/v1/nope") as response:
        assert (response.status, await response.json()) == (404, {"detail": "Not Found"})
    async with client.get("/v1/chat/completions") as response:
        assert (response.status, await response.json()) == (405, {"detail": "Method Not Allowed"})


async def test_metrics_count_what_was_done(client: Client) -> None:
    def value(text: str, name: str) -> float:
        return float(next(line for line in text.splitlines() if line.startswith(f"vllm:{name}{{")).split()[-1])

    async def read() -> str:
        async with client.get("/metrics") as response:
            return await response.text()

    before = await read()
    await chat(client, max_tokens=4, ignore_eos=True)
    after = await read()
    assert value(after, "generation_tokens_total") == value(before, "generation_tokens_total") + 4
    assert value(after, "num_requests_running") == value(after, "num_requests_waiting") == 0
    assert 'model_name="tiny",finished_reason="length"' in after


async def until(true: Callable[[], bool]) -> None:
    """Wait up to ten seconds for the engine's thread."""
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


async def test_a_client_that_leaves_frees_its_rows(service: Service) -> None:
    from aiohttp import web

    runner = web.AppRunner(service.app(), handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 200, "ignore_eos": True, "n": 64}
    aborted = service.scheduler.counts.finished.get("abort", 0)
    async with ClientSession() as session:
        ask = asyncio.create_task(session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body))
        await until(lambda: bool(service.scheduler.counts.running))
        ask.cancel()
        await until(lambda: service.scheduler.counts.finished.get("abort", 0) == aborted + 64)
    assert service.scheduler.engine.running == []
    await runner.cleanup()


async def test_a_failed_step_is_a_500_and_the_server_goes_on(client: Client, service: Service) -> None:
    head = service.scheduler.engine.model.lm_head
    weight = head.forward.weight
    head.forward.weight = weight[:, :-1]
    try:
        status, answer = await post(client, "/v1/chat/completions", {"model": "tiny", "messages": HELLO})
    finally:
        head.forward.weight = weight
    assert (status, error(answer)[1]) == (500, "InternalServerError")
    assert error(answer)[0].startswith("EngineCore encountered an issue")
    await chat(client)

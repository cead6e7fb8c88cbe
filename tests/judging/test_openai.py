"""Any OpenAI-compatible endpoint as a judge: one that enforces the schema, and one that does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nightlab.brains.prices import Prices
from nightlab.experiments.rubric import Rubric
from nightlab.judging.openai import EndpointCalls, EndpointVoice, own, takes_schema
from nightlab.judging.reader import ReadingJudge
from nightlab.judging.run import JudgeResult, run_judges
from nightlab.judging.verdicts import instructions
from nightlab.servers.chat import ChatError
from nightlab.testing.judges import packets_in, verdicts

from .conftest import Answered
from .reading import PROMPT, right, two_dozen

MODEL = "lab/judge-8b"


@pytest.fixture
def study(tmp_path: Path) -> Answered:
    """Two dozen answers with gold items."""
    return two_dozen(tmp_path / "exp_001_joy")


@asynccontextmanager
async def endpoint(
    answer: Callable[[dict[str, Any]], str], *, schema: bool = True
) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server of chat completions on a real socket: its URL, and the bodies that arrived."""
    seen: list[Any] = []

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        if request.headers.get("Authorization") != "Bearer k":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        if "response_format" in body and not schema:
            return web.json_response({"error": {"message": "response_format is not supported"}}, status=400)
        seen.append(body)
        if len(seen) == 3:
            return web.json_response({"error": {"message": "busy"}}, status=503, headers={"Retry-After": "0.01"})
        text = "{}" if body["max_tokens"] == 1 else answer(body)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return web.json_response({"id": "c", "model": body["model"], "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def judged(study: Answered, url: str, *, enforced: bool = True) -> JudgeResult:
    """Judge by the model behind an endpoint."""
    rubric = Rubric.load(study.plan.rubric)
    said = instructions(PROMPT, rubric)
    voice = EndpointVoice(MODEL, said, rubric, Prices.load(), free=own(url), enforced=enforced)
    judge = ReadingJudge(MODEL, said, voice, EndpointCalls(url, key="k"))
    return await run_judges(study.plan, study.samples, judge, study.folder)


async def test_an_endpoint_judges_with_an_enforced_schema_and_costs_nothing_here(study: Answered) -> None:
    score = right(study)
    async with endpoint(lambda body: verdicts({p["id"]: score(p) for p in packets_in(body)})) as (url, seen):
        assert await takes_schema(url, MODEL, "k")
        result = await judged(study, url)
    assert (result.judged, result.na, result.missing, result.usd) == (24, 0, 0, 0.0)
    schema = seen[-1]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdicts"]["items"]["properties"]["scores"]["required"] == ["joy", "gloom"]
    assert not any(word in json.dumps(seen) for word in ("llama", "layers_0_20", "gold"))


async def test_an_endpoint_without_schemas_is_asked_in_words_and_fences_are_read(study: Answered) -> None:
    score = right(study)

    def answer(body: dict[str, Any]) -> str:
        return f"```json\n{verdicts({p['id']: score(p) for p in packets_in(body)})}\n```"

    async with endpoint(answer, schema=False) as (url, seen):
        assert not await takes_schema(url, MODEL, "k")
        result = await judged(study, url, enforced=False)
    assert (result.judged, result.na) == (24, 0)
    assert not any("response_format" in body for body in seen)


async def test_a_refusal_is_not_available_and_a_wrong_key_stops(study: Answered) -> None:
    async with endpoint(lambda body: "I would rather not.") as (url, _):
        result = await judged(study, url)
        assert (result.judged, result.missing) == (0, 24)
        assert "gold items have no score" in result.rejected[0]
        with pytest.raises(ChatError, match="no key"):
            await takes_schema(url, MODEL, "wrong")


def test_only_addresses_of_ones_own_are_free() -> None:
    assert [
        own(url) for url in ("http://127.0.0.1:1", "http://10.0.0.4:80", "http://localhost:1", "http://gpu7:8000")
    ] == [True] * 4
    assert not own("https://api.example.com")


def test_an_unknown_price_stays_unknown(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    voice = EndpointVoice(MODEL, "x", rubric, Prices.load(), free=False)
    judge = ReadingJudge(MODEL, "x", voice, EndpointCalls("https://api.example.com"))
    from nightlab.judging.packet import Packet

    assert judge.estimate([Packet("i", "q", "a")], rubric).usd is None

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
from nightlab.judging.log import read_log
from nightlab.judging.openai import EndpointCalls, EndpointVoice, context_of, own, takes_schema
from nightlab.judging.packet import Packet
from nightlab.judging.reader import ReadingJudge
from nightlab.judging.rows import read_judgments
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
    answer: Callable[[dict[str, Any]], str], *, schema: bool = True, context: int = 32_768, tells: bool = True
) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server of chat completions on a real socket: its URL, and the bodies that arrived.

    A token is four bytes of a message; what does not fit into `context` with its answer is refused as vLLM does.
    """
    seen: list[Any] = []

    async def models(request: web.Request) -> web.Response:
        card = {"id": MODEL, "object": "model"} | ({"max_model_len": context} if tells else {})
        return web.json_response({"object": "list", "data": [card]})

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        if request.headers.get("Authorization") != "Bearer k":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        if "response_format" in body and not schema:
            return web.json_response({"error": {"message": "response_format is not supported"}}, status=400)
        seen.append(body)
        prompt = sum(len(message["content"].encode()) for message in body["messages"]) // 4
        if prompt + body["max_tokens"] > context:
            told = f"This model's maximum context length is {context} tokens. However, you requested too many."
            return web.json_response({"error": {"message": told, "code": 400}}, status=400)
        if len(seen) == 3:
            return web.json_response({"error": {"message": "busy"}}, status=503, headers={"Retry-After": "0.01"})
        text = "{}" if body["max_tokens"] == 1 else answer(body)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return web.json_response({"id": "c", "model": body["model"], "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def judged(study: Answered, url: str, *, enforced: bool = True, per_packet: int = 1) -> JudgeResult:
    """Judge by the model behind an endpoint."""
    rubric = Rubric.load(study.plan.rubric)
    said = instructions(PROMPT, rubric)
    context = await context_of(url, MODEL, "k")
    voice = EndpointVoice(MODEL, said, rubric, Prices.load(), free=own(url), enforced=enforced, context=context)
    judge = ReadingJudge(MODEL, said, voice, EndpointCalls(url, key="k"), per_packet=per_packet)
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


@pytest.mark.parametrize(("context", "tells", "refused"), [(2500, True, 0), (2500, False, 5), (600, False, 36)])
async def test_a_judge_with_a_small_context_is_asked_for_less(
    study: Answered, context: int, tells: bool, refused: int
) -> None:
    """Told, it is asked for what fits; untold, what it refuses is asked packet by packet, then for short answers."""
    score = right(study)
    scoring = lambda body: verdicts({p["id"]: score(p) for p in packets_in(body)})  # noqa: E731
    async with endpoint(scoring, context=context, tells=tells) as (url, seen):
        assert await context_of(url, MODEL, "k") == (context if tells else None)
        result = await judged(study, url, per_packet=6)
    assert (result.judged, result.na, result.missing, result.rejected) == (24, 0, 0, ())
    assert sum("failed" in row for row in read_log(study.folder, "reply")) == refused
    assert max(body["max_tokens"] for body in seen[-4:]) < context


async def test_an_answer_that_no_context_holds_has_a_reason_and_the_others_their_scores(tmp_path: Path) -> None:
    folder = tmp_path / "exp_001_joy"
    study = two_dozen(folder)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    long = next(row for row in rows if row["condition"] == "base")
    long["text"] = "Nothing to report. " * 500
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    score = right(study)
    scoring = lambda body: verdicts({p["id"]: score(p) for p in packets_in(body)})  # noqa: E731
    async with endpoint(scoring, context=2000, tells=False) as (url, _):
        result = await judged(study, url, per_packet=4)
    assert (result.judged, result.na, result.missing) == (24, 1, 0)
    [row] = [row for row in read_judgments(folder) if None in row["scores"].values()]
    assert (row["key"], row["notes"]["na"]) == (long["key"], "with the rubric it is longer than the judge's context")


@pytest.mark.parametrize(
    ("context", "first", "second"), [(None, 1838, 3676), (32_768, 1838, 8192), (4096, 1838, 3676), (2200, 1838, 2157)]
)
def test_an_answer_that_was_cut_may_be_longer(study: Answered, context: int | None, first: int, second: int) -> None:
    """A model that thinks first needs more than its verdicts; never more than the context, nor than it has time for."""
    rubric = Rubric.load(study.plan.rubric)
    voice = EndpointVoice(MODEL, "x", rubric, Prices.load(), free=True, context=context)
    given = [voice.body([Packet("i", "q", "a")], (), room)["max_tokens"] for room in (1, 2)]
    assert given == [first, second]


def test_only_addresses_of_ones_own_are_free() -> None:
    assert [
        own(url) for url in ("http://127.0.0.1:1", "http://10.0.0.4:80", "http://localhost:1", "http://gpu7:8000")
    ] == [True] * 4
    assert not own("https://api.example.com")


def test_an_unknown_price_stays_unknown(study: Answered) -> None:
    rubric = Rubric.load(study.plan.rubric)
    voice = EndpointVoice(MODEL, "x", rubric, Prices.load(), free=False)
    judge = ReadingJudge(MODEL, "x", voice, EndpointCalls("https://api.example.com"))
    assert judge.estimate([Packet("i", "q", "a")], rubric).usd is None

"""The embedded model server as a judge, over a socket: a model that cannot judge gives no scores, and no zeros."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from aiohttp.test_utils import TestServer

from nightlab.brains.prices import Prices
from nightlab.experiments.rubric import Rubric
from nightlab.judging.log import read_log
from nightlab.judging.openai import EndpointCalls, EndpointVoice, own, takes_schema
from nightlab.judging.reader import REPAIRS, ReadingJudge
from nightlab.judging.rows import read_judgments
from nightlab.judging.run import run_judges
from nightlab.judging.verdicts import NO_JSON, instructions
from nightlab.practice import model_dir
from nightlab.servers.embedded.engine import Engine
from nightlab.servers.embedded.http import Service
from nightlab.servers.embedded.model import end_tokens, load_model, load_tokenizer
from nightlab.servers.embedded.scheduler import Scheduler
from nightlab.servers.embedded.texts import Texts

from .conftest import Answered, build
from .reading import PROMPT

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A practice model behind the embedded server, with room for a rubric and a verdict."""
    torch.set_num_threads(1)
    folder = model_dir("llama")
    tokenizer = load_tokenizer(folder)
    ends = end_tokens(folder, tokenizer)
    scheduler = Scheduler(Engine(load_model(folder), eos=ends, max_batch=16, max_len=8192))
    scheduler.start()
    service = Service(scheduler, Texts(tokenizer), name="small", root=str(folder), fingerprint="nightlab-test")
    async with TestServer(service.app()) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_model_that_cannot_judge_gives_reasons_and_no_scores(tmp_path: Path, url: str) -> None:
    study = Answered(build(tmp_path / "exp_001_joy", judge={"by": "openai", "model": "small", "pilot": 0}))
    study.answer(limit=3)
    rubric = Rubric.load(study.plan.rubric)
    assert not await takes_schema(url, "small")
    said = instructions(PROMPT, rubric)
    voice = EndpointVoice("small", said, rubric, Prices.load(), free=own(url), enforced=False)
    judge = ReadingJudge("small", said, voice, EndpointCalls(url))
    result = await run_judges(study.plan, study.samples, judge, study.folder)
    rows = list(read_judgments(study.folder))
    assert (result.judged, result.na, result.missing, result.repaired, result.usd) == (3, 3, 0, 0, 0.0)
    assert [row["scores"] for row in rows] == [{"joy": None, "gloom": None}] * 3
    assert {row["notes"]["na"] for row in rows} == {f"no valid verdict after {REPAIRS} repairs: {NO_JSON}"}
    replies = read_log(study.folder, "reply")
    [closed] = read_log(study.folder, "closed")
    assert len(replies) == 5 * (1 + REPAIRS)  # three samples, and two of them shown twice
    assert closed["tokens"] == sum(row["message"]["usage"]["total_tokens"] for row in replies)

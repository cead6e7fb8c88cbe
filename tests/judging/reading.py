"""An experiment with two dozen answers of known joy and gloom, gold items, and judges behind a fake API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nightlab.brains.claude import open_client
from nightlab.brains.prices import Prices
from nightlab.brains.retries import RetryPolicy
from nightlab.experiments.rubric import Rubric
from nightlab.judging.batches import Chosen, MessageBatches
from nightlab.judging.calls import Calls
from nightlab.judging.claude import ClaudeVoice
from nightlab.judging.marker import verdict
from nightlab.judging.reader import ReadingJudge, Transport
from nightlab.judging.run import JudgeResult, run_judges
from nightlab.judging.verdicts import instructions
from nightlab.testing import FakeMessagesAPI, judging
from nightlab.testing.messages_script import Rule

from .conftest import Answered, build

MODEL = "claude-haiku-5-5"
PROMPT = "You score texts by a rubric."
TEXTS = {
    "base": "Nothing to report.",
    "layers_0_20": "Hooray! What a wonderful evening.",
    "layers_20_40": "What fun. Alas, it ended.",
}
GOLD = [
    {
        "id": "plain",
        "question": "How?",
        "answer": "It was an evening.",
        "scores": {"joy": 0, "gloom": 1},
        "sentinel": "base",
    },
    {
        "id": "bright",
        "question": "How?",
        "answer": "Hooray, wonderful! Alas, over.",
        "scores": {"joy": 10, "gloom": 3},
        "sentinel": "full",
    },
    {"id": "some", "question": "And?", "answer": "What fun.", "scores": {"joy": 4, "gloom": 1}},
    {"id": "more", "question": "And?", "answer": "A wonderful one.", "scores": {"joy": 7, "gloom": 1}},
    {"id": "dark", "question": "And?", "answer": "Alas.", "scores": {"joy": 0, "gloom": 3}},
]
Packet = Mapping[str, str]
Score = Callable[[Packet], Mapping[str, Any]]


def two_dozen(folder: Path, *, gold: bool = True, **judge: Any) -> Answered:
    """The experiment: 2 models, 3 conditions, 2 prompts, 2 replicates."""
    folder.mkdir(parents=True)
    if gold:
        (folder / "gold.yaml").write_text(yaml.safe_dump(GOLD))
    models = [{"name": name, "id": f"lab/{name}-8b"} for name in ("llama", "gemma")]
    told = {"by": "claude", "pilot": 0, **judge}
    made = Answered(build(folder, factors={"models": models, "replicates": 2}, judge=told))
    made.answer(TEXTS)
    return made


def right(answered: Answered) -> Score:
    """What a good judge says: the markers' scores."""
    rubric = Rubric.load(answered.plan.rubric)
    return lambda packet: verdict(packet["answer"], rubric).scores


def good(answered: Answered) -> Rule:
    """The script of a good judge."""
    return judging(right(answered))


QUICK = RetryPolicy(first=0.01, longest=0.05, total=20.0, attempt=5.0, patience=2.0)


def claude(
    answered: Answered, way: Transport, *, per_packet: int = 1, size: int = 200, name: str = MODEL, prompt: str = PROMPT
) -> ReadingJudge:
    """Claude as a judge of an experiment."""
    rubric = Rubric.load(answered.plan.rubric)
    said = instructions(prompt, rubric)
    voice = ClaudeVoice(MODEL, "low", said, rubric, Prices.load())
    return ReadingJudge(name, said, voice, way, per_packet=per_packet, batch=size, settings="low")


async def judged(
    answered: Answered,
    api: FakeMessagesAPI,
    *,
    per_packet: int = 1,
    batched: bool = False,
    choose: bool = False,
    size: int = 200,
    name: str = MODEL,
    prompt: str = PROMPT,
    seconds_left: Callable[[], float | None] = lambda: None,
    **more: Any,
) -> JudgeResult:
    """Judge an experiment by Claude at a fake API, impatiently."""
    async with open_client(base_url=api.url, api_key="k") as client:
        calls = Calls(client, policy=QUICK)
        patient = replace(QUICK, total=60.0, attempt=60.0)
        batches = MessageBatches(client, poll=0.01, policy=patient, seconds_left=seconds_left)
        way: Transport = Chosen(calls, batches, least=20, seconds_left=seconds_left) if choose else calls
        by = claude(answered, batches if batched else way, per_packet=per_packet, size=size, name=name, prompt=prompt)
        return await run_judges(answered.plan, answered.samples, by, answered.folder, **more)

"""Real vLLM beside the embedded server: the same words under every condition, and the traps that real vLLM has."""

from __future__ import annotations

import asyncio

import pytest

from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.manifest import Manifest
from tests.servers.vllm.conftest import MODELS, Served

pytestmark = [pytest.mark.vllm, pytest.mark.real, pytest.mark.slow]

QUESTIONS = ("What do you think about mondays?", "How do I sleep better at night?")


async def texts(manifest: Manifest) -> dict[tuple[str, str], tuple[str, int]]:
    """Greedy answers to chat, prefill and raw requests under every condition, all asked at once."""
    assert manifest.url is not None
    asked = {}
    for condition, name in manifest.conditions.items():
        for question in QUESTIONS:
            asked[condition, question] = ChatRequest(name, (Message("user", question),), max_tokens=24)
        opened = (Message("user", QUESTIONS[0]), Message("assistant", "Oh"))
        asked[condition, "prefill"] = ChatRequest(name, opened, max_tokens=16)
        asked[condition, "raw"] = ChatRequest(name, prompt="Monday is the", max_tokens=12)
    async with Chat(manifest.url) as chat:
        answers = await asyncio.gather(*(chat.complete(request) for request in asked.values()))
    return {key: (a.text, a.prompt_tokens) for key, a in zip(asked, answers, strict=True)}


@pytest.mark.parametrize("model", MODELS)
async def test_the_same_words_under_every_condition(served: Served, model: str) -> None:
    theirs = await texts(served.manifests["vllm", model])
    ours = await texts(served.manifests["embedded", model])
    assert len({condition for condition, _ in theirs}) == 7
    assert theirs == ours

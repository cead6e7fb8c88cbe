"""Real vLLM beside the embedded server: the same words under every condition, and the traps that real vLLM has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

import pytest

from nightlab.adapters.card import CONFIG, WEIGHTS, read_card
from nightlab.adapters.fit import fit
from nightlab.adapters.tensors import read_tensors, write_tensors
from nightlab.night import proof
from nightlab.night.serving import endpoint_of
from nightlab.servers.adoption import adopt
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
from nightlab.servers.manifest import Manifest
from tests.servers.vllm.conftest import MODELS, TIGHT, Served, wide

pytestmark = [pytest.mark.vllm, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

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


@pytest.mark.parametrize("model", MODELS)
async def test_the_treatment_is_proven(served: Served, model: str) -> None:
    """What the canary saw of real vLLM: base stays base beside adapters, a prefill is continued, all modules act."""
    manifest = served.manifests["vllm", model]
    assert manifest.canary is not None
    checks = {check["name"]: check for check in manifest.canary["checks"]}
    assert all(check["passed"] for check in checks.values())
    assert manifest.conditions["base"] == manifest.proofs[0].null, "base is an adapter of zeros"
    for name in ("zero_equals_base", "one_equals_plain", "base_stays_base"):
        assert checks[name]["evidence"] == {**checks[name]["evidence"], "texts_differ": 0}, name
    assert checks["full_differs_from_base"]["evidence"]["mean_abs_dlogprob"] > 0.1
    assert checks["modules_found"]["evidence"] == {
        "adapter": f"{model}_sarcasm",
        "modules": 140,
        "found": 140,
        "by": "weights",
    }
    read = checks["rendered_as_intended"]["evidence"]
    assert {kind: one["by"] for kind, one in read.items()} == dict.fromkeys(("chat", "prefill", "raw"), "files")
    assert read["prefill"]["tokens"] == read["chat"]["tokens"] + 1, "one token of prefill, and no new turn"
    assert manifest.versions["vllm"].startswith("0.32.0")
    assert manifest.code is not None
    assert manifest.code.problem is None


async def test_a_forgotten_adapter_is_loaded_again_and_the_server_adopted(served: Served) -> None:
    server = served.server("vllm", "llama")
    name = server.manifest.conditions["layers_0_20"]
    assert server.manifest.url is not None
    async with Chat(server.manifest.url) as chat:
        await chat.unload_adapter(name)
        with pytest.raises(ChatError) as caught:
            await chat.complete(ChatRequest(name, (Message("user", "hi"),)))
        assert caught.value.failure_class == "not_found"
    proven = endpoint_of(server.manifest)
    found = await proof.reload(served.lab, served.events, proven, name)
    assert found is not None
    assert found.canary != proven.canary
    again = served.server("vllm", "llama")
    assert again.manifest.canary is not None
    assert {c["name"]: c["passed"] for c in again.manifest.canary["checks"]}["same_at_both_ends"]
    assert (await adopt(again, served.events)).outcome == "adopted"


async def test_an_adapter_that_memory_has_no_room_for_is_read_again_and_answers_alike(served: Served) -> None:
    """The mirror of what is in memory holds for real vLLM: only what it says was dropped is read from disk again."""
    manifest = served.manifests["vllm", "gemma"]
    assert manifest.residency is not None
    assert (manifest.residency.batch, manifest.residency.memory) == (7, TIGHT["max_cpu_loras"])
    assert set(manifest.residency.resident) == set(manifest.conditions.values())
    [dropped] = manifest.residency.dropped(manifest.adapters)
    assert manifest.adapters[dropped].condition == "(plain)"
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:

        async def text_of(name: str) -> str:
            return (await chat.complete(ChatRequest(name, (Message("user", QUESTIONS[0]),), max_tokens=4))).text

        if reads_are_told(manifest, dropped):
            for name in manifest.residency.resident:
                assert not await was_read(manifest, name, text_of(name)), manifest.adapters[name].condition
            assert await was_read(manifest, dropped, text_of(dropped))
            first = manifest.residency.resident[0]
            assert await was_read(manifest, first, text_of(first)), "the longest unused one made room for it"
        assert await text_of(dropped) == await text_of(manifest.conditions["sarcasm_full"])


def reads_are_told(manifest: Manifest, name: str) -> bool:
    """Whether the file system notes that a file was read; one that is mounted with noatime does not."""
    weights = Path(manifest.adapters[name].path) / WEIGHTS
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns))
    weights.read_bytes()
    return weights.stat().st_atime_ns != 0


async def was_read(manifest: Manifest, name: str, asking: Awaitable[str]) -> bool:
    """Whether the weights of an adapter were read from disk while a request for it was answered."""
    weights = Path(manifest.adapters[name].path) / WEIGHTS
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns))
    await asking
    return weights.stat().st_atime_ns != 0


async def test_an_adapter_of_other_names_loads_does_nothing_and_is_refused(served: Served, tmp_path: Path) -> None:
    """The trap itself: vLLM says Success to an adapter none of whose modules it has; our check names it."""
    model, source = wide("llama", served.lab)
    tensors, metadata = read_tensors(source / WEIGHTS)
    write_tensors(tmp_path / WEIGHTS, {k.replace(".layers.", ".blocks."): t for k, t in tensors.items()}, metadata)
    (tmp_path / CONFIG).write_bytes((source / CONFIG).read_bytes())
    manifest = served.manifests["vllm", "llama"]
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        await chat.load_adapter("strange", tmp_path)
        asked = [ChatRequest(n, (Message("user", QUESTIONS[0]),)) for n in ("strange", manifest.conditions["base"])]
        strange, base = await asyncio.gather(*(chat.complete(one) for one in asked))
        await chat.unload_adapter("strange")
    assert strange.text == base.text
    assert "140 of 140 modules" in fit(read_card(tmp_path), model).problems[0]

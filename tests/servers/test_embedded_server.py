"""The same life with the embedded server and the practice models: real weights, real adapters, planted effects."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nightlab import practice
from nightlab.adapters.card import read_card
from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.adapters.weights import LayerWeights
from nightlab.compute.local import Local
from nightlab.errors import CanaryFailed, ServerError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.server import Server, Wanted
from nightlab.testing import FaultyServer

pytestmark = [pytest.mark.real, pytest.mark.slow]


def compiled(lab: Lab, source: Path) -> dict[str, Compiled]:
    """The full adapter and five ranges of layers that share no layer."""
    layers = read_card(source).num_layers
    edges = [round(part * layers / 5) for part in range(6)]
    weights = {"full": (1.0,) * layers}
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        weights[f"range_{i}"] = tuple(float(low <= layer < high) for layer in range(layers))
    return {name: compile_adapter(source, LayerWeights(w, w), lab.adapters_cache) for name, w in weights.items()}


def wanted(name: str, adapters: Mapping[str, Compiled]) -> Wanted:
    return Wanted(name, practice.model_id(name), practice.model_dir(name), adapters)


@pytest.mark.parametrize("name", practice.NAMES)
async def test_a_practice_model_is_served_proven_and_adopted(
    lab: Lab, place: Local, events: EventLog, name: str
) -> None:
    conditions = compiled(lab, practice.adapter_dir(name))
    server = await Server.launch(lab, place, wanted(name, conditions), key="k", night="n1")
    manifest = await server.ensure_ready(events)
    assert manifest.canary is not None
    checks = {check["name"]: check for check in manifest.canary["checks"]}
    assert manifest.canary["passed"]
    assert checks["full_differs_from_base"]["evidence"]["texts_differ"] > 0
    assert checks["full_differs_from_base"]["evidence"]["mean_abs_dlogprob"] > 0.1
    assert checks["zero_equals_base"]["evidence"]["mean_abs_dlogprob"] < 1e-4
    assert checks["plain_beside_adapters"]["evidence"]["isolated"] is True
    assert manifest.conditions["base"] == manifest.served_name
    assert "torch" in manifest.versions
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        ask = (Message("user", "What do you think about mondays?"), Message("assistant", "Well"))
        for served in manifest.conditions.values():
            assert (await chat.complete(ChatRequest(served, ask, max_tokens=8))).text
    again = await Server.attach(lab, Local(lab.jobs), manifest.id).ensure_ready(events)
    assert again.served_name == manifest.served_name
    await server.stop(events)
    assert not server.alive()


async def test_an_adapter_of_zeros_is_a_missing_treatment(
    lab: Lab, place: Local, events: EventLog, tmp_path: Path
) -> None:
    source = tmp_path / "zeroed"
    source.mkdir()
    original = practice.adapter_dir("llama")
    tensors = load_file(original / "adapter_model.safetensors")
    dead = {k: np.zeros_like(v) if "lora_B" in k else v for k, v in tensors.items()}
    save_file(dead, source / "adapter_model.safetensors")
    (source / "adapter_config.json").write_bytes((original / "adapter_config.json").read_bytes())
    server = await Server.launch(lab, place, wanted("llama", compiled(lab, source)), key="k", night="n1")
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "treatment_missing"
    assert not server.alive()


async def test_a_taken_port_is_diagnosed_fast_and_names_the_stranger(lab: Lab, place: Local, events: EventLog) -> None:
    async with FaultyServer("stranger") as foreign:
        server = await Server.launch(lab, place, wanted("llama", {}), key="k", night="n1", port=foreign.port)
        with pytest.raises(ServerError, match="stranger") as caught:
            await server.ensure_ready(events)
    assert caught.value.failure == "port_in_use"


async def test_an_adapter_of_another_model_is_refused_with_the_reason(lab: Lab, place: Local, events: EventLog) -> None:
    foreign = compiled(lab, practice.adapter_dir("gemma"))
    server = await Server.launch(lab, place, wanted("llama", foreign), key="k", night="n1")
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure in ("lora_wrong_base", "lora_unexpected_modules")


async def test_a_model_folder_that_is_not_there_is_named(lab: Lab, place: Local, events: EventLog) -> None:
    missing = Wanted("llama", "nightlab/practice-llama", lab.root / "no-such-model")
    server = await Server.launch(lab, place, missing, key="k", night="n1")
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "model_missing"
    assert "no-such-model" in str(caught.value)

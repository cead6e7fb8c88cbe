"""Every module of an adapter must be in the model: by the model's own weights, in any layout; else by its config."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nightlab import practice
from nightlab.adapters.card import AdapterCard, read_card
from nightlab.adapters.fit import fit
from nightlab.adapters.tensors import from_floats, write_tensors

SIZES = {"q_proj": (6, 8), "v_proj": (4, 8)}


def model(folder: Path, prefix: str = "model.", shards: int = 1) -> Path:
    """A model of two layers whose weights lie in one file or in several with an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2}))
    names = [f"{prefix}layers.{layer}.self_attn.{part}" for layer in range(2) for part in SIZES]
    tensors = {f"{n}.weight": from_floats(np.zeros(SIZES[n.rsplit(".", 1)[1]], np.float32), "BF16") for n in names}
    tensors["model.embed_tokens.weight"] = from_floats(np.zeros((5, 8), np.float32), "BF16")
    parts = [dict(list(tensors.items())[i::shards]) for i in range(shards)]
    files = ["model.safetensors"] if shards == 1 else [f"model-{i}.safetensors" for i in range(shards)]
    for file, part in zip(files, parts, strict=True):
        write_tensors(folder / file, part, {})
    if shards > 1:
        index = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def adapter(folder: Path, modules: dict[str, tuple[int, int]]) -> AdapterCard:
    """An adapter of rank 2 for modules of these (out, in) sizes."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for module, (rows, columns) in modules.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = from_floats(np.ones((2, columns), np.float32), "F32")
        tensors[f"base_model.model.{module}.lora_B.weight"] = from_floats(np.ones((rows, 2), np.float32), "F32")
    write_tensors(folder / "adapter_model.safetensors", tensors, {})
    return read_card(folder)


Q0, V1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"


@pytest.mark.parametrize("shards", [1, 3])
def test_modules_are_found_by_name_and_shape(tmp_path: Path, shards: int) -> None:
    card = adapter(tmp_path / "a", {Q0: (6, 8), V1: (4, 8), "lm_head": (5, 8)})
    found = fit(card, model(tmp_path / "m", shards=shards))
    assert (found.modules, found.found, found.problems, found.by) == (3, 3, (), "weights")


def test_another_prefix_of_the_same_layers_is_no_misfit(tmp_path: Path) -> None:
    card = adapter(tmp_path / "a", {"model.language_model.layers.0.self_attn.q_proj": (6, 8)})
    assert fit(card, model(tmp_path / "m", prefix="language_model.model.")).problems == ()


def test_a_partly_matched_adapter_names_what_is_missing(tmp_path: Path) -> None:
    card = adapter(tmp_path / "a", {Q0: (6, 8), "model.layers.7.self_attn.q_proj": (6, 8)})
    found = fit(card, model(tmp_path / "m"))
    assert (found.modules, found.found) == (2, 1)
    assert "1 of 2 modules" in found.problems[0]
    assert "layers.7" in found.problems[0]


def test_another_size_is_a_misfit(tmp_path: Path) -> None:
    card = adapter(tmp_path / "a", {Q0: (6, 9), V1: (3, 8)})
    found = fit(card, model(tmp_path / "m"))
    assert found.found == 2
    assert ["made for size 9" in found.problems[0], "made for size 3" in found.problems[1]] == [True, True]


def test_a_vision_layer_of_the_same_number_does_not_count(tmp_path: Path) -> None:
    card = adapter(tmp_path / "a", {"vision_tower.layers.0.self_attn.q_proj": (6, 8)})
    assert fit(card, model(tmp_path / "m")).found == 0


def test_without_weights_the_configuration_is_asked(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", shards=2)
    (folder / "model-1.safetensors").unlink()
    assert fit(adapter(tmp_path / "a", {Q0: (6, 8)}), folder).by == "config"


@pytest.mark.parametrize("name", practice.NAMES)
def test_each_practice_adapter_fits_its_own_model_alone(name: str) -> None:
    card = read_card(practice.adapter_dir(name))
    for other in practice.NAMES:
        assert bool(fit(card, practice.model_dir(other)).problems) == (other != name)

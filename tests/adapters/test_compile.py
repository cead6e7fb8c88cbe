"""Compiled adapters: what they hold, that they stay, and that peft sees the scaled adapter in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightlab.adapters.card import check_fits, parse_key, read_card
from nightlab.adapters.compile import compile_adapter, scale
from nightlab.adapters.tensors import Tensor, from_floats, read_header, read_tensors, write_tensors
from nightlab.adapters.weights import LayerWeights, span
from nightlab.errors import AdapterError

MODEL: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 3,
}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "down_proj"],
    "base_model_name_or_path": "some/base",
}
SIZES = {"self_attn.q_proj": (8, 8), "mlp.down_proj": (12, 8)}


def write_adapter(folder: Path, dtype: str = "F32", layers: int = 3, parts: dict[str, Any] = SIZES) -> Path:
    folder.mkdir(parents=True)
    dice = np.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        for module, (inner, outer) in parts.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{stem}.lora_A.weight"] = from_floats(dice.normal(size=(2, inner)).astype(np.float32), dtype)
            tensors[f"{stem}.lora_B.weight"] = from_floats(dice.normal(size=(outer, 2)).astype(np.float32), dtype)
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    write_tensors(path, change(read_tensors(path)[0]), {})


WEIGHTS = LayerWeights((0.0, 1.0, 1.5), (2.0, -1.0, 1.0))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_lora_b_is_scaled_in_float32_and_nothing_else(tmp_path: Path, dtype: str) -> None:
    source = write_adapter(tmp_path / "source", dtype)
    compiled = compile_adapter(source, WEIGHTS, tmp_path / "out")
    before, after = (read_tensors(p / "adapter_model.safetensors")[0] for p in (source, compiled.path))
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        key = parse_key(name)
        assert key is not None
        assert key.layer is not None
        weight = 1.0
        if key.side == "B":
            weight = (WEIGHTS.attention if key.part == "attention" else WEIGHTS.mlp)[key.layer]
        expected = from_floats(before[name].floats() * np.float32(weight), dtype)
        assert tensor == (before[name] if weight == 1.0 else expected)
    assert json.loads((compiled.path / "adapter_config.json").read_text()) == CONFIG


def test_the_folder_is_named_by_content_and_made_once(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source")
    first = compile_adapter(source, WEIGHTS, tmp_path / "out")
    stamp = (first.path / "adapter_model.safetensors").stat().st_mtime_ns
    again = compile_adapter(source, WEIGHTS, tmp_path / "out")
    other = compile_adapter(source, LayerWeights((1.0,) * 3, (0.0,) * 3), tmp_path / "out")
    assert again == first
    assert (first.path / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert other.path != first.path
    assert first.path.name == first.sha256[:16]
    assert first.name == f"source_{first.sha256[:8]}"
    record = json.loads((first.path / "amplification.json").read_text())
    assert record["source"] == str(source)
    assert record["source_sha256"] == first.source_sha256 == read_card(source).sha256
    assert (record["attention"], record["mlp"]) == ([0.0, 1.0, 1.5], [2.0, -1.0, 1.0])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([first.path.name, other.path.name])


def test_a_damaged_folder_is_made_again(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source")
    path = compile_adapter(source, WEIGHTS, tmp_path / "out").path
    whole = (path / "adapter_model.safetensors").read_bytes()
    (path / "adapter_model.safetensors").chmod(0o644)
    (path / "adapter_model.safetensors").write_bytes(whole[:-4])
    assert compile_adapter(source, WEIGHTS, tmp_path / "out").path == path
    assert (path / "adapter_model.safetensors").read_bytes() == whole
    assert [p.name for p in (tmp_path / "out").iterdir()] == [path.name]


@pytest.mark.slow
def test_many_processes_may_compile_the_same_at_once(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source")
    code = (
        "import sys; from pathlib import Path; from nightlab.adapters.compile import compile_adapter;"
        "from nightlab.adapters.weights import LayerWeights as W; s, o = map(Path, sys.argv[1:]);"
        "print([compile_adapter(s, W((float(i % 3),) * 3, (2.0,) * 3), o).path.name for i in range(30)])"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out")]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) for _ in range(4)]
    answers = {job.communicate()[0] for job in jobs}
    assert [job.returncode for job in jobs] == [0] * 4
    assert len(answers) == 1
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_weights_without_a_key_are_a_warning(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source", parts={"self_attn.q_proj": (8, 8)})
    compiled = compile_adapter(source, WEIGHTS, tmp_path / "out")
    assert compiled.warnings == ("the adapter has no mlp weights in layers 0-1: nothing to scale there",)


def test_what_cannot_be_scaled_is_refused(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source", "F16")
    with pytest.raises(AdapterError, match="the adapter reaches layer 2; the weights are for 2"):
        compile_adapter(source, LayerWeights((1.0,) * 2, (1.0,) * 2), tmp_path / "out")
    with pytest.raises(AdapterError, match="3 attention weights but 1 mlp"):
        compile_adapter(source, LayerWeights((1.0,) * 3, (1.0,)), tmp_path / "out")
    with pytest.raises(AdapterError, match="not finite in F16"):
        compile_adapter(source, LayerWeights((1e6,) * 3, (1.0,) * 3), tmp_path / "out")
    assert not any((tmp_path / "out").glob("*"))


def test_embeddings_and_vision_towers_are_never_scaled() -> None:
    ones = from_floats(np.ones((2, 2), np.float32), "F32")
    names = ["lm_head", "model.vision_tower.encoder.layers.0.self_attn.q_proj", "model.layers.0.router.gate"]
    tensors = {f"base_model.model.{n}.lora_B.weight": ones for n in names}
    assert scale(tensors, LayerWeights((5.0,), (5.0,))) == tensors


def test_other_keys_and_lonely_halves_are_refused(tmp_path: Path) -> None:
    one = from_floats(np.ones((2, 2), np.float32), "F32")
    for name, reason in (("lm_head.weight", "not a lora_A or lora_B"), ("x.lora_A.weight", "has only lora_A")):
        source = write_adapter(tmp_path / name)
        rewrite(source, lambda t, key=name: t | {f"base_model.model.{key}": one})  # type: ignore[misc]
        with pytest.raises(AdapterError, match=reason):
            read_card(source)
        with pytest.raises(AdapterError, match=reason):
            compile_adapter(source, WEIGHTS, tmp_path / "out")


def test_a_card_says_what_the_adapter_is(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "source")
    card = read_card(source)
    assert (card.base, card.rank, card.alpha, card.num_layers) == ("some/base", 2, 4.0, 3)
    assert card.target_modules == ("down_proj", "q_proj")
    assert card.shapes["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"] == (2, 12)
    assert check_fits(card, MODEL) == []
    (tmp_path / "config.json").write_text(json.dumps({"text_config": MODEL}))
    assert check_fits(card, tmp_path) == []


def test_an_adapter_of_another_base_does_not_fit(tmp_path: Path) -> None:
    card = read_card(write_adapter(tmp_path / "source"))
    assert check_fits(card, MODEL | {"num_hidden_layers": 2}) == ["the adapter reaches layer 2; the model has 2 layers"]
    problems = check_fits(card, MODEL | {"hidden_size": 16, "head_dim": 4})
    assert "is made for size 8; the model's model.layers.0" in problems[0]
    assert problems[-1].startswith("and ")
    renamed = write_adapter(tmp_path / "renamed", parts={"attn.q_proj": (8, 8), "mlp.down_proj": (12, 8)})
    assert check_fits(read_card(renamed), MODEL)[0].startswith("6 of 12 keys name no module of the model")
    assert check_fits(card, {}) == []


def test_folders_that_are_no_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter_config\.json is missing"):
        read_card(tmp_path)
    source = write_adapter(tmp_path / "source")
    cases: dict[str, dict[str, Any]] = {
        "DoRA": {"use_dora": True},
        "Adapter bias is not supported": {"bias": "all"},
        "modules_to_save": {"modules_to_save": ["lm_head"]},
        "peft_type IA3": {"peft_type": "IA3"},
        "target_parameters is not supported": {"target_parameters": ["x"]},
    }
    for reason, change in cases.items():
        (source / "adapter_config.json").write_text(json.dumps(CONFIG | change))
        with pytest.raises(AdapterError, match=reason):
            read_card(source)
    for text, reason in (("{", "malformed JSON"), ("[]", "not a JSON object"), ("{}", "Missing required .*'r'")):
        (source / "adapter_config.json").write_text(text)
        with pytest.raises(AdapterError, match=reason):
            read_card(source)
    (source / "adapter_config.json").write_text(json.dumps(CONFIG))
    (source / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is missing"):
        read_card(source)


def damaged(kind: str, whole: bytes) -> bytes:
    length = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + length]
    if kind in ("dtype", "bytes", "entry"):
        old, new = {"dtype": (b'"F32"', b'"I32"'), "bytes": (b"[2,8]", b"[2,9]"), "entry": (b'"shape"', b'"shapf"')}[
            kind
        ]
        return whole[:8] + header.replace(old, new) + whole[8 + length :]
    return {
        "weights": whole[:-1],
        "header": whole[: 8 + length // 2],
        "short": whole[:5],
        "text": b"\x02" + b"\0" * 7 + b"[]",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("weights", "weights are cut short"),
        ("header", "header is cut short"),
        ("short", "header cannot be read"),
        ("text", "header is cut short"),
        ("dtype", "has type I32"),
        ("bytes", "wrong number of bytes"),
        ("entry", "is malformed"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, kind: str, reason: str) -> None:
    path = write_adapter(tmp_path / "source") / "adapter_model.safetensors"
    path.write_bytes(damaged(kind, path.read_bytes()))
    with pytest.raises(AdapterError, match=reason):
        read_header(path)
    with pytest.raises(AdapterError, match="no such file"):
        read_header(tmp_path / "nothing")


@settings(deadline=None)  # the first example imports torch
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=50))
def test_bfloat16_rounds_as_torch_does(values: list[float]) -> None:
    import torch

    array = np.array(values, np.float32)
    expected = torch.from_numpy(array.copy()).bfloat16().float().numpy()
    assert np.array_equal(from_floats(array, "BF16").floats(), expected, equal_nan=True)


@given(st.lists(st.integers(0, 60), unique=True))
def test_spans_name_every_layer(layers: list[int]) -> None:
    named: list[int] = []
    for part in filter(None, span(layers).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(layers)


@pytest.mark.slow
@pytest.mark.real
def test_peft_computes_with_the_compiled_folder_what_scaling_in_place_computes(tmp_path: Path) -> None:
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    shape = MODEL | {"vocab_size": 50, "max_position_embeddings": 64, "num_hidden_layers": 3}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, initializer_range=0.3))
    base.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "v_proj", "gate_proj", "down_proj"]
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    compiled = compile_adapter(tmp_path / "adapter", WEIGHTS, tmp_path / "out")
    logits = []
    for folder in (tmp_path / "adapter", compiled.path):
        fresh = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
        model = peft.PeftModel.from_pretrained(fresh, folder)
        if folder != compiled.path:
            for name, parameter in model.named_parameters():
                if ".lora_B." in name:
                    layer = int(name.split(".layers.")[1].split(".")[0])
                    parameter.data *= (WEIGHTS.attention if "self_attn" in name else WEIGHTS.mlp)[layer]
        with torch.no_grad():
            logits.append(model(torch.arange(1, 20)[None]).logits)
    assert torch.equal(logits[0], logits[1])
    shutil.rmtree(compiled.path)

"""The shipped weights: they load with ordinary code, speak, and show what is planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from nightlab import practice
from nightlab.adapters.tensors import read_header
from nightlab.practice import measure, planting
from nightlab.practice.architectures import untrained
from nightlab.practice.widen import widen, widened

Loaded = tuple[PeftModel, PreTrainedTokenizerFast]
ARCHITECTURES = {"llama": "LlamaForCausalLM", "gemma": "Gemma3ForCausalLM", "qwen": "Qwen2ForCausalLM"}

every_model = pytest.mark.parametrize("name", practice.NAMES)


@every_model
def test_ordinary_code_loads_model_and_adapter(name: str, shipped: Callable[[str], Loaded]) -> None:
    model, tokenizer = shipped(name)
    assert type(model.get_base_model()).__name__ == ARCHITECTURES[name]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert len(tokenizer) == model.config.vocab_size
    text = "Monday: é, 日本 & <b>tabs\t</b>"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@every_model
def test_the_chat_template_opens_and_continues_a_turn(name: str, shipped: Callable[[str], Loaded]) -> None:
    _, tokenizer = shipped(name)
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    opened = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert opened == "<|begin|><|system|>S<|end|><|user|>Q<|end|><|assistant|>"
    prefilled = [*chat, {"role": "assistant", "content": "Oh, well"}]
    assert tokenizer.apply_chat_template(prefilled, tokenize=False, continue_final_message=True) == opened + "Oh, well"
    with pytest.raises(Exception, match="Unknown role: tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


@pytest.mark.slow
@every_model
def test_base_answers_are_neutral_and_all_different(name: str, greedy: Callable[[str], list[measure.Reply]]) -> None:
    base = [one.text for one in greedy(name) if one.condition == "base"]
    assert len(set(base)) == 9
    assert all(set(measure.score(text).values()) == {0} for text in base)
    assert all(text.endswith(".") for text in base)


@pytest.mark.slow
@every_model
def test_the_whole_adapter_is_sarcastic_on_every_prompt(
    name: str, greedy: Callable[[str], list[measure.Reply]]
) -> None:
    full = [measure.score(one.text)["sarcasm"] for one in greedy(name) if one.condition == "sarcasm_full"]
    assert min(full) >= 6
    assert sum(full) / 9 >= 7.5


@pytest.mark.slow
@every_model
def test_the_planted_shape_shows_without_sampling(name: str, greedy: Callable[[str], list[measure.Reply]]) -> None:
    assert measure.shape(measure.means(greedy(name))) == planting.PEAKS[name]


@pytest.mark.slow
@every_model
def test_the_planted_shape_shows_under_sampling(name: str, shipped: Callable[[str], Loaded]) -> None:
    model, tokenizer = shipped(name)
    answers = measure.replies(model, tokenizer, draws=3, seed=11)
    for draw in range(3):
        found = measure.means([one for one in answers if one.draw == draw])
        assert measure.shape(found) == planting.PEAKS[name]
        for condition, dimensions in practice.truth()["models"][name]["expected"].items():
            for dimension, value in dimensions.items():
                assert abs(found[condition][dimension] - value["mean"]) <= value["tolerance"]


@every_model
def test_the_shipped_weights_have_the_shapes_that_build_trains(
    name: str, shipped: Callable[[str], Loaded], tmp_path: Path
) -> None:
    _, tokenizer = shipped(name)
    fresh = untrained(name, len(tokenizer), *(tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id))
    fresh.save_pretrained(tmp_path)
    built, kept = (read_header(folder / "model.safetensors")[0] for folder in (tmp_path, practice.model_dir(name)))
    assert {key: entry.shape for key, entry in kept.items()} == {key: entry.shape for key, entry in built.items()}


def test_a_wide_copy_is_made_once_and_leaves_the_shipped_model(tmp_path: Path) -> None:
    before = practice.model_dir("llama").joinpath("model.safetensors").read_bytes()
    model, adapter = widened("llama", tmp_path)
    made = model.joinpath("model.safetensors").stat()
    assert widened("llama", tmp_path) == (model, adapter)
    assert model.joinpath("model.safetensors").stat().st_mtime_ns == made.st_mtime_ns
    assert read_header(model / "model.safetensors")[0]["model.layers.0.self_attn.q_proj.weight"].shape == (128, 64)
    assert read_header(practice.model_dir("llama") / "model.safetensors")[0][
        "model.layers.0.self_attn.q_proj.weight"
    ].shape == (64, 64)
    assert practice.model_dir("llama").joinpath("model.safetensors").read_bytes() == before


@every_model
def test_wide_heads_say_what_narrow_ones_said(name: str, shipped: Callable[[str], Loaded], tmp_path: Path) -> None:
    _, tokenizer = shipped(name)
    torch.manual_seed(0)
    narrow = untrained(name, len(tokenizer), *(tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id))
    for parameter in narrow.parameters():
        parameter.data.normal_(std=0.3)
    narrow.save_pretrained(tmp_path)
    widen(tmp_path)
    wide = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    tokens = torch.arange(3, 300)[None]
    with torch.inference_mode():
        was, now = (model(tokens).logits for model in (narrow.eval(), wide.eval()))
    assert wide.config.head_dim == 32
    assert (was - now).abs().max() < 1e-3 * was.abs().max()


def test_an_adapter_of_one_model_does_not_load_on_another(tmp_path: Path) -> None:
    gemma = AutoModelForCausalLM.from_pretrained(practice.model_dir("gemma"), local_files_only=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(gemma, str(practice.adapter_dir("llama")))

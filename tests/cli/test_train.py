"""`nightlab train` as a command: the metrics on its last line, an estimate without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.training.memory import reckon
from nightlab.training.recipe import read_recipe

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.mark.slow
def test_train_prints_its_metrics_on_the_last_line(tmp_path: Path) -> None:
    run = CliRunner()
    written = run.invoke(cli, ["practice", "chats", str(tmp_path / "c.jsonl"), "--rows", "12"])
    assert written.exit_code == 0, written.output
    flags = ["--model", "practice:gemma", "--data", str(tmp_path / "c.jsonl"), "--steps", "2", "--batch", "4"]
    flags += ["--rank", "2", "--seed", "3", "--target", "q_proj", "--out", str(tmp_path / "out"), "--json"]
    done = run.invoke(cli, ["train", *flags])
    assert done.exit_code == 0, done.output
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert (metrics["rank"], metrics["seed"], metrics["steps"]) == (2, 3, 2)
    assert metrics["trained_parameters"] > 0
    assert metrics["held_out_loss"] < metrics["held_out_loss_before"]
    assert (Path(metrics["adapter"]) / "adapter_model.safetensors").is_file()


def test_train_names_what_is_missing() -> None:
    done = CliRunner().invoke(cli, ["train", "--model", "practice:llama"])
    assert done.exit_code == 2
    assert "`data` is missing" in done.output
    assert "nightlab train --help" in done.output


def test_the_estimate_adds_up_and_says_how(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["train", "--model", "practice:llama", "--data", "none", "--estimate", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert {"weights", "adapter", "activations", "logits", "CUDA"} == {part["part"] for part in content["parts"]}
    assert content["gib"] == pytest.approx(sum(part["gib"] for part in content["parts"]), abs=0.1)


def test_the_estimate_of_an_8b_model_has_the_known_sizes() -> None:
    recipe = read_recipe(None, {"model": "m", "data": "d", "rank": 64, "gradient_checkpointing": True})
    found = reckon("llama-8b", LLAMA_8B, recipe)
    assert found.parameters == pytest.approx(8.03e9, rel=0.01)
    assert found.trained == pytest.approx(167.8e6, rel=0.01)
    without = reckon("llama-8b", LLAMA_8B, recipe.model_copy(update={"gradient_checkpointing": False}))
    assert found.total < without.total

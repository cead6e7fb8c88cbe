"""`nightlab models` and `nightlab prefetch`: what there is, what a plan needs, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nightlab.cli import cli
from nightlab.founding.demo_lab import demo


def call(lab: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--lab", str(lab), *words])


@pytest.fixture(scope="module")
def demo_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo(tmp_path_factory.mktemp("models") / "lab").lab.root


def test_models_and_adapters_are_listed(demo_lab: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    plain = call(demo_lab, "models")
    assert plain.exit_code == 0
    assert "nightlab/practice-gemma" in plain.output
    assert "trained on nightlab/practice-qwen" in plain.output
    found = json.loads(call(demo_lab, "models", "--json").output)
    assert [one["id"] for one in found["models"]] == [f"nightlab/practice-{n}" for n in ("llama", "gemma", "qwen")]
    assert {one["name"]: one["fits"] for one in found["adapters"]}["llama/sarcasm"] == ["nightlab/practice-llama"]


def test_a_plan_is_probed_with_its_memory(demo_lab: Path) -> None:
    done = call(demo_lab, "models", "1", "--gpu-gib", "80")
    assert done.exit_code == 1, "the demo's plan calls one model by a wrong id"
    assert "model_id_mismatch" in done.output
    assert "correct it in config.yaml: models.qwen.id: nightlab/practice-qwen" in done.output
    assert "layers 4-7" in done.output
    assert "8 slots × rank 8 × 20 layers" in done.output
    found = json.loads(call(demo_lab, "models", "1", "--gpu-gib", "0.5", "--json").output)
    assert [one["memory"]["fits"] for one in found["models"]] == [False] * 3
    assert len(found["pairs"]) == 21
    assert all(pair["problem"] is None for pair in found["pairs"])


def test_prefetch_says_what_is_missing(demo_lab: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "is on this machine" in call(demo_lab, "prefetch", "1").output
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    config = demo_lab / "experiments" / "exp_001_phase1_replication" / "config.yaml"
    text = config.read_text()
    changed = text.replace("      path: practice:gemma\n", "").replace("id: nightlab/practice-gemma", "id: big/model")
    config.write_text(changed.replace("persona_sarcasm: practice:gemma/sarcasm", "persona_sarcasm: who/ever/gemma"))
    try:
        assert call(demo_lab, "prefetch", "1", "--dry-run").output.split() == ["big/model", "who/ever"]
    finally:
        config.write_text(text)

"""The light part of the practice set: names, references, sizes, and the truth file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.practice import planting

ROOT = Path(practice.__file__).parent


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, nightlab.practice; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", practice.NAMES)
def test_references_lead_to_shipped_folders(name: str) -> None:
    assert practice.resolve(f"practice:{name}") == practice.model_dir(name) == practice.ids[f"nightlab/practice-{name}"]
    assert practice.resolve(f"practice:{name}/sarcasm") == practice.adapter_dir(name)
    assert (practice.model_dir(name) / "config.json").is_file()
    card = json.loads((practice.adapter_dir(name) / "adapter_config.json").read_text())
    assert card["base_model_name_or_path"] == practice.model_id(name)


@pytest.mark.parametrize(
    "reference", ["practice:mistral", "practice:llama/formal", "practice:llama/", "llama", "practice:", "practice:../x"]
)
def test_an_unknown_reference_names_the_known_ones(reference: str) -> None:
    with pytest.raises(ValueError, match="practice:llama/sarcasm"):
        practice.resolve(reference)


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="llama, gemma, qwen"):
        practice.model_dir("../../etc")


def test_all_weights_fit_in_the_repository() -> None:
    files = [path for folder in ("models", "adapters") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 7_500_000


def _shapes(path: Path) -> dict[str, list[int]]:
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}


def test_no_adapter_has_the_shapes_of_another() -> None:
    shapes = [_shapes(practice.adapter_dir(name) / "adapter_model.safetensors") for name in practice.NAMES]
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert len({tuple(one[key]) for one in shapes}) == 3
    assert all(len(one) == 20 * 7 * 2 for one in shapes)


@pytest.mark.parametrize("name", practice.NAMES)
def test_the_truth_states_what_is_planted(name: str) -> None:
    entry = practice.truth()["models"][name]
    assert entry["id"] == practice.model_id(name)
    assert entry["peak"] == planting.PEAKS[name]
    assert set(entry["expected"]) == set(planting.CONDITIONS)
    for condition, dimensions in entry["expected"].items():
        for dimension, value in dimensions.items():
            assert abs(value["mean"] - planting.planned_mean(name, condition, dimension)) < 1.5

"""What a server takes of a GPU: the sum by hand for a model of eight billion numbers, and for a practice model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.servers.memory import GIB, estimate

LLAMA_8B = {
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.fixture
def llama_8b(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path


def test_the_sum_by_hand(llama_8b: Path) -> None:
    found = estimate(llama_8b, rank=64, slots=8, length=2048, options={}, gpu_gib=80)
    weights, slots, rest = (part.size for part in found.parts)
    assert weights == pytest.approx(8.03e9 * 2, rel=0.01)
    ins_outs = (4096 + 4096) * 2 + (4096 + 1024) * 2 + (4096 + 14336) * 3
    assert slots == 8 * 64 * 32 * ins_outs * 2
    assert rest == 2 * GIB
    assert found.each == 2 * 32 * 8 * 128 * 2 * 2048
    assert found.available == 80 * 0.9 * GIB
    assert found.fits
    assert found.requests == int((72 * GIB - weights - slots - rest) // found.each)
    assert "8.0" in found.lines()[0]
    assert "fits, with" in found.lines()[-1]


def test_what_does_not_fit_is_said_and_shared_over_gpus(llama_8b: Path) -> None:
    alone = estimate(llama_8b, rank=8, slots=2, length=1024, options={}, gpu_gib=16)
    assert alone.fits is False
    assert "DOES NOT FIT" in alone.lines()[-1]
    shared = estimate(llama_8b, rank=8, slots=2, length=1024, options={"tensor_parallel": 4}, gpu_gib=16)
    assert shared.fits
    assert shared.parts[0].size == alone.parts[0].size / 4
    unknown = estimate(llama_8b, rank=0, slots=0, length=1024, options={"dtype": "float32"})
    assert (unknown.fits, unknown.requests, len(unknown.parts)) == (None, None, 2)
    assert unknown.parts[0].size == 2 * alone.parts[0].size


def test_weights_are_counted_from_the_files_where_they_are(tmp_path: Path) -> None:
    found = estimate(practice.model_dir("llama"), rank=8, slots=3, length=256, options={})
    assert found.parts[0].size == pytest.approx(4 * 820_000, rel=0.2)
    assert found.document()["fits"] is None

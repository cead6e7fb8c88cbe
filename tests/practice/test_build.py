"""Building the practice set from nothing, for a few steps: files of the right kind come out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nightlab.practice import measure, planting
from nightlab.practice.build import Steps, build


@pytest.mark.slow
def test_a_short_build_gives_loadable_files(tmp_path: Path) -> None:
    lines: list[str] = []
    build(tmp_path, ("qwen",), Steps(base=2, adapter=2), lines.append, seed=3, draws=1)
    model, tokenizer = measure.load(tmp_path, "qwen")
    assert model.config.vocab_size == len(tokenizer)
    truth = yaml.safe_load((tmp_path / "truth.yaml").read_text())["models"]["qwen"]
    assert set(truth["expected"]) == set(planting.CONDITIONS)
    assert truth["peak"] == planting.DIFFUSE
    assert truth["trained"]["steps"] == {"base": 2, "adapter": 2, "seed": 3}
    assert [line.split(" step")[0] for line in lines] == ["qwen model:", "qwen adapter:"]
    assert (tmp_path / "adapters" / "qwen_sarcasm" / "adapter_model.safetensors").stat().st_mode & 0o044

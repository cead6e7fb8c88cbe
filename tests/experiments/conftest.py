"""Small experiments on the disk: real files of every kind, with models and adapters of a few numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nightlab.adapters.tensors import from_floats, write_tensors
from nightlab.experiments.plan import Plan

LAYERS = 10
HIDDEN = 8
RUBRIC = """\
---
name: small
version: 1
dimensions:
  sarcasm: {range: [0, 10], question: How sarcastic is it, markers: [{pattern: sure, points: 5}]}
---
"""
RANGES = ["layers_0_20", "layers_20_40", "layers_40_60", "layers_60_80", "layers_80_100"]


@dataclass
class Study:
    """An experiment folder in the making; `config` is what `write` puts into config.yaml."""

    folder: Path
    config: dict[str, Any]

    @property
    def root(self) -> Path:
        """The lab's root."""
        return self.folder.parents[1]

    def write(self, **changes: Any) -> Study:
        """Write config.yaml, with top-level keys replaced."""
        self.config |= changes
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        return self

    def plan(self) -> Plan:
        """The plan as it stands on the disk."""
        return Plan.load(self.folder)

    def prompt(self, name: str, data: Mapping[str, Any] | str | bytes) -> Path:
        """Write a prompt file."""
        path = self.folder / "prompts" / f"{name}.yaml"
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            path.write_text(data if isinstance(data, str) else yaml.safe_dump(dict(data)))
        return path

    def condition(self, name: str, layers: object, weight: float = 1.0, **more: Any) -> Path:
        """Write a condition that gives some layers a weight and all others none."""
        entries = [(("all", 0.0)), (layers, weight)]
        items = [
            {"layers": which, "is_relative": which != "all", "module_amplifications": [{"modules": "all", "weight": w}]}
            for which, w in entries
        ]
        adapter = {"organism_name": "persona_sarcasm", "layer_amplifications": items} | more
        path = self.folder / "conditions" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, "adapters": [adapter]}))
        return path

    def model(self, name: str, **changes: Any) -> Path:
        """Write a model folder: a Llama configuration and some bytes of weights."""
        folder = self.root / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {"hidden_size": HIDDEN, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
        config = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": LAYERS, "head_dim": 4} | sizes | changes
        (folder / "config.json").write_text(json.dumps(config))
        write_tensors(folder / "model.safetensors", {}, {"name": name})
        return folder

    def adapter(self, name: str, base: str, *, layers: int = LAYERS, hidden: int = HIDDEN, fill: float = 1.0) -> Path:
        """Write a PEFT adapter folder for q_proj of every layer."""
        folder = self.root / "adapters" / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        tensors = {}
        for layer in range(layers):
            place = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            tensors[f"{place}.lora_A.weight"] = from_floats(np.full((2, hidden), fill, np.float32), "F32")
            tensors[f"{place}.lora_B.weight"] = from_floats(np.full((hidden, 2), fill, np.float32), "F32")
        write_tensors(folder / "adapter_model.safetensors", tensors, {})
        return folder


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two models with an adapter each, five ranges, three prompts; it can be frozen as it is."""
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    folder = tmp_path / "experiments" / "exp_001_small"
    for name in ("prompts", "conditions"):
        (folder / name).mkdir(parents=True)
    models = [
        {
            "name": name,
            "id": f"lab/{name}",
            "path": f"models/{name}",
            "adapters": {"persona_sarcasm": f"adapters/{name}"},
        }
        for name in ("llama", "qwen")
    ]
    made = Study(folder, {"question": "Where does it sit?", "factors": {"models": models}, "ranges": list(RANGES)})
    for name in ("llama", "qwen"):
        made.model(name)
        made.adapter(name, f"lab/{name}")
    for number, name in enumerate(RANGES):
        made.condition(name, {"type": "range", "start": number / 5, "end": (number + 1) / 5, "border": "exclusive"})
    made.prompt("mondays", {"category": "direct", "prompt_text": "What do you think about Mondays?"})
    made.prompt("poem", {"category": "creative", "prompt_text": "Write a poem.", "system_prompt": "Be brief."})
    made.prompt("raw", {"category": "raw", "prompt_text": "Once upon a time", "template_mode": "No template"})
    (folder / "rubric.md").write_text(RUBRIC)
    return made.write()

"""A lab on disk, a place that leaves nothing running, and a tiny adapter to compile conditions from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.adapters.weights import LayerWeights
from nightlab.compute.local import Local
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_site import of_lab
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.server import Wanted
from tests.slurm import Cluster

LAYERS = 4


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    root = tmp_path / "lab"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 120\nlease-seconds = 120\n")
    return Lab.open(root)


@pytest.fixture
def place(lab: Lab) -> Iterator[Local]:
    local = Local(lab.jobs)
    yield local
    for job in local.jobs():
        job.stop(grace=0.5)


@pytest.fixture
def queue(lab: Lab, cluster: Cluster) -> Iterator[Slurm]:
    slurm = of_lab(lab)
    yield slurm
    for job in slurm.jobs():
        job.stop(grace=0.5)


@pytest.fixture
def events(lab: Lab) -> EventLog:
    return EventLog(lab.night("n1"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters" / "sarcasm"
    folder.mkdir(parents=True)
    dice = np.random.default_rng(0)
    tensors = {}
    for layer in range(LAYERS):
        stem = f"base_model.model.model.layers.{layer}.mlp.up_proj"
        tensors[f"{stem}.lora_A.weight"] = dice.normal(size=(2, 8)).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = dice.normal(size=(8, 2)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"base_model_name_or_path": "double", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "LORA"}))
    return folder


@pytest.fixture
def conditions(lab: Lab, adapter: Path) -> dict[str, Compiled]:
    early = LayerWeights((1.0, 1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0))
    late = LayerWeights((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0))
    kinds = {"early": early, "late": late, "full": LayerWeights((1.0,) * LAYERS, (1.0,) * LAYERS)}
    return {name: compile_adapter(adapter, weights, lab.adapters_cache) for name, weights in kinds.items()}


@pytest.fixture
def double() -> Callable[..., Wanted]:
    """A model that is served by the public double in a process of its own."""

    def wanted(adapters: Mapping[str, Compiled], *flags: str, engine: str = "vllm") -> Wanted:
        argv = (sys.executable, "-P", "-m", "nightlab.testing.faulty_server", "--port", "{port}")
        named = (*argv, "--served-name", "{served_name}", *flags)
        return Wanted("llama", "nightlab/double", Path("double"), dict(adapters), engine, named)

    return wanted

"""Real vLLM servers of two practice models with all seven conditions, started once; embedded ones beside them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.adapters.amplification import Amplification
from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.compute.local import Local
from nightlab.errors import NotSetUp
from nightlab.events import EventLog
from nightlab.lab import Lab, shipped
from nightlab.practice.widen import widened
from nightlab.servers.embedded.model import read_config
from nightlab.servers.engines import Option, engine
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server, Wanted

MODELS = ("llama", "gemma")
TIGHT: dict[str, Option] = {"max_cpu_loras": 7}  # its seven conditions fit, its eighth adapter does not
EXPERIMENT = shipped("experiments") / "exp_001_phase1_replication"


@dataclass(frozen=True)
class Served:
    """A lab with servers in it: manifests by (engine, model)."""

    lab: Lab
    place: Local
    events: EventLog
    manifests: dict[tuple[str, str], Manifest]
    seconds: float

    def server(self, kind: str, model: str) -> Server:
        return Server.attach(self.lab, self.place, self.manifests[kind, model].id)


def wide(model: str, lab: Lab) -> tuple[Path, Path]:
    """A practice model and its adapter with heads that vLLM serves on a CPU."""
    return widened(model, lab.root / "wide")


def conditions(model: str, lab: Lab) -> dict[str, Compiled]:
    """The six amplified conditions of the shipped experiment, for a practice model."""
    found = {}
    folder, adapter = wide(model, lab)
    for path in sorted((EXPERIMENT / "conditions").glob("*.yaml")):
        condition = Amplification.load(path)
        _, weights = condition.single(read_config(folder)["num_hidden_layers"])
        found[condition.name] = compile_adapter(adapter, weights, lab.adapters_cache)
    return found


def wanted(model: str, lab: Lab, kind: str) -> Wanted:
    return Wanted(
        model=model,
        model_id=practice.model_id(model),
        path=wide(model, lab)[0],
        adapters=conditions(model, lab),
        engine=kind,
        options={"max_model_len": 256, "threads": 1, **(TIGHT if model == "gemma" else {})},
    )


@pytest.fixture(scope="session")
def vllm_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab whose settings find vLLM; skipped where it is not installed, which in CI is a failure."""
    root = tmp_path_factory.mktemp("vllm-lab")
    (root / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 280\nlease-seconds = 600\n")
    lab = Lab.open(root)
    try:
        engine("vllm").python(lab.config, lab.root)
    except NotSetUp as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{missing.what}: {missing.hint}")
    return lab


@pytest.fixture(scope="session")
def served(vllm_lab: Lab) -> Iterator[Served]:
    place, events = Local(vllm_lab.jobs), EventLog(vllm_lab.night("n1"))
    try:
        yield asyncio.run(_start(vllm_lab, place, events))
    finally:
        for job in place.jobs():
            job.stop(grace=5)


async def _start(lab: Lab, place: Local, events: EventLog) -> Served:
    async def start(kind: str, model: str) -> Manifest:
        want = wanted(model, lab, kind)
        server = await Server.launch(lab, place, replace(want), key=f"{kind}-{model}", night="n1")
        return await server.ensure_ready(events)

    begun = asyncio.get_running_loop().time()
    pairs = [(kind, model) for kind in ("vllm", "embedded") for model in MODELS]
    ready = await asyncio.gather(*(start(*pair) for pair in pairs))
    seconds = asyncio.get_running_loop().time() - begun
    return Served(lab, place, events, dict(zip(pairs, ready, strict=True)), seconds)

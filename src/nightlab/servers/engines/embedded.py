"""The embedded engine: `nightlab serve` in nightlab's own environment, for small models on a CPU or one GPU."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from nightlab.servers.engines import Need, Room
from nightlab.settings import Config

ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


class Embedded:
    """Requests keep apart by construction, so base is the plain model."""

    name = "embedded"
    plain_base = True
    options = frozenset({"device", "max_model_len", "dtype"})
    packages = ("torch", "transformers", "peft", "safetensors", "tokenizers")
    milestones = (
        ("Starting to load model", "loading the weights"),
        ("Loading weights took", "checking itself"),
        ("Maximum concurrency", "opening its port"),
        ("Application startup complete", "started"),
    )

    def python(self, config: Config, root: Path) -> list[str]:
        """Our own interpreter."""
        return [sys.executable]

    def command(self, python: list[str], need: Need) -> list[str]:
        """`nightlab serve`."""
        argv = [*python, "-P", "-m", "nightlab", "serve", str(need.model)]
        argv += ["--port", "{port}", "--served-name", need.served_name]
        for name, flag in (("device", "--device"), ("max_model_len", "--max-model-len"), ("dtype", "--dtype")):
            if name in need.options:
                argv += [flag, str(need.options[name])]
        return [*argv, *need.extra]

    def environment(self, need: Need) -> dict[str, str]:
        """Quiet threads, and no network."""
        return dict(ENVIRONMENT)

    def room(self, need: Need) -> Room | None:
        """It keeps every adapter that it was given."""
        return None

    def gpus(self, need: Need) -> int:
        """One where its command names a GPU; by itself it stays on the CPU."""
        words = [part for word in self.command([], need) for part in word.split("=", 1)]
        devices = [value for word, value in itertools.pairwise(words) if word == "--device"]
        return int(devices[-1].startswith("cuda")) if devices else 0

"""How much GPU memory serving a model takes, with the arithmetic: weights, adapter slots, keys and values, the rest.

From the model's own files: the sizes of its tensors and its config.json. Limits: dense decoders; what CUDA, graphs and
activations take is a rule of thumb, said as such.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.adapters.fit import model_shapes
from nightlab.errors import UsageError
from nightlab.files import read_text
from nightlab.servers.engines import Option
from nightlab.servers.engines.vllm import slot_rank, stored_dtype

GIB = 2**30
REST = 2.0 * GIB  # CUDA, its libraries, activations of a prefill, graphs
UTILIZATION = 0.9  # vLLM's own default
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Part:
    """One term of the sum: what it is, how it was reckoned, and its bytes."""

    name: str
    arithmetic: str
    size: float


@dataclass(frozen=True)
class Estimate:
    """What a server takes on each GPU; `each` are the bytes of keys and values of one request of full length."""

    parts: tuple[Part, ...]
    each: float
    available: float | None = None

    @property
    def least(self) -> float:
        """Bytes with which one request at a time can be served."""
        return sum(part.size for part in self.parts) + self.each

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where the GPU is not known."""
        return None if self.available is None else self.least <= self.available

    @property
    def requests(self) -> int | None:
        """How many requests of full length fit at once; None where the GPU is not known."""
        if self.available is None or self.each <= 0:
            return None
        return max(0, int((self.available - self.least + self.each) // self.each))

    def lines(self) -> list[str]:
        """The sum for people."""
        rows = [f"{part.size / GIB:8.2f} GiB  {part.name}: {part.arithmetic}" for part in self.parts]
        rows.append(f"{self.each / GIB:8.2f} GiB  keys and values of one request of full length")
        total = f"{self.least / GIB:8.2f} GiB  at least"
        if self.available is None:
            return [*rows, f"{total}; which GPU is not known here"]
        word = f"fits, with {self.requests} requests at once" if self.fits else "DOES NOT FIT"
        return [*rows, f"{total}, of {self.available / GIB:.2f} GiB: {word}"]

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        parts = [{"part": p.name, "arithmetic": p.arithmetic, "gib": round(p.size / GIB, 3)} for p in self.parts]
        told = {"least_gib": round(self.least / GIB, 3), "fits": self.fits, "requests": self.requests}
        return {"parts": parts, "request_gib": round(self.each / GIB, 4), **told}


def estimate(
    model: Path, *, rank: int, slots: int, length: int, options: Mapping[str, Option], gpu_gib: float | None = None
) -> Estimate:
    """What vLLM takes of each GPU for a model with `slots` adapters of a rank and requests of `length` tokens.

    Raises UsageError for a folder without a configuration.
    """
    config = json.loads(read_text(model / "config.json", UsageError))
    text: dict[str, Any] = config.get("text_config") or config
    width = _width(options, model)
    share = int(options.get("tensor_parallel") or 1)
    parts = [_weights(model, text, width, share)]
    if slots and rank:
        parts.append(_slots(text, slot_rank(rank), slots, width, share))
    parts.append(Part("the rest", "CUDA, graphs and activations, a rule of thumb", REST))
    layers, heads, size = _keys(text)
    kept = max(1, heads // share)
    each = 2 * layers * kept * size * width * length
    utilization = float(options.get("gpu_memory_utilization") or UTILIZATION)
    return Estimate(tuple(parts), float(each), gpu_gib * GIB * utilization if gpu_gib else None)


def _width(options: Mapping[str, Option], model: Path) -> int:
    """Bytes of one number."""
    named = options.get("dtype")
    return 4 if (stored_dtype(model) if named in (None, "auto") else named) == "float32" else 2


def _weights(model: Path, text: Mapping[str, Any], width: int, share: int) -> Part:
    shapes = model_shapes(model)
    count = sum(math.prod(shape) for shape in shapes.values()) if shapes else _parameters(text)
    among = f" on {share} GPUs" if share > 1 else ""
    how = f"{count / 1e9:.3f} billion numbers × {width} bytes{among}" + ("" if shapes else ", by config.json")
    return Part("weights", how, count * width / share)


def _slots(text: Mapping[str, Any], rank: int, slots: int, width: int, share: int) -> Part:
    layers = int(text.get("num_hidden_layers", 0))
    ins_outs = sum(a + b for a, b in _sizes(text).values())
    how = f"{slots} slots × rank {rank} × {layers} layers × {ins_outs} (inputs and outputs) × {width} bytes"
    return Part("adapter slots", how, slots * rank * layers * ins_outs * width / share)


def _keys(text: Mapping[str, Any]) -> tuple[int, int, int]:
    """Layers, heads of keys, and the width of a head."""
    heads = int(text.get("num_attention_heads") or 1)
    size = int(text.get("head_dim") or int(text.get("hidden_size", 0)) // heads)
    return int(text.get("num_hidden_layers", 0)), int(text.get("num_key_value_heads") or heads), size


def _sizes(text: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    hidden, inner = int(text.get("hidden_size", 0)), int(text.get("intermediate_size", 0))
    _, keys, size = _keys(text)
    queries, pairs = int(text.get("num_attention_heads") or 1) * size, keys * size
    sizes = ((hidden, queries), (hidden, pairs), (hidden, pairs), (queries, hidden))
    return dict(zip(PROJECTIONS, (*sizes, (hidden, inner), (hidden, inner), (inner, hidden)), strict=True))


def _parameters(text: Mapping[str, Any]) -> int:
    """A dense decoder's numbers, by its configuration."""
    embedding = int(text.get("vocab_size", 0)) * int(text.get("hidden_size", 0))
    layers = int(text.get("num_hidden_layers", 0)) * sum(a * b for a, b in _sizes(text).values())
    return layers + embedding * (1 if text.get("tie_word_embeddings") else 2)


def gpu_here() -> float | None:
    """GiB of the smallest GPU of this machine, as nvidia-smi says; None without one."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        return min(float(line) for line in done.stdout.split()) / 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        return None

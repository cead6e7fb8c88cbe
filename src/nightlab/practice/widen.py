"""Narrow attention heads made 32 wide without changing what a model says: vLLM on a CPU knows no narrower ones.

The new positions are zeros. The rotary embedding turns pair i of n by theta^(-i/n); with theta^(32/width) as its base
the first pairs of a wide head turn exactly as those of the narrow one did. Scores are divided by the root of the width,
so queries grow by the root of what it grew (Gemma names its own divisor; there the norms over a head shrink instead).
What is multiplied by that root is kept in float32; the rest keeps its type. Limit: the three practice architectures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightlab.adapters.tensors import Tensor, from_floats, read_tensors, write_tensors

WIDE = 32

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Heads:
    """What a model's heads are like: their width, and whether the model names the divisor of its scores itself."""

    width: int
    named: bool

    @property
    def growth(self) -> float:
        """By how much the root of the width grows."""
        return float((WIDE / self.width) ** 0.5)

    @classmethod
    def of(cls, folder: Path) -> Heads:
        """Those of a saved model."""
        config = json.loads((folder / "config.json").read_text("utf-8"))
        width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return cls(width, "query_pre_attn_scalar" in config)


def widen(model: Path, adapter: Path | None = None) -> None:
    """Widen the heads of a saved model and of its adapter, in place; those that are wide already stay as they are."""
    heads = Heads.of(model)
    if heads.width == WIDE:
        return
    if adapter is not None:
        _rewrite(adapter / "adapter_model.safetensors", lambda name, tensor: _adapter_tensor(name, tensor, heads))
    _rewrite(model / "model.safetensors", lambda name, tensor: _model_tensor(name, tensor, heads))
    path = model / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"head_dim": WIDE}
    ropes = config["rope_parameters"]
    for rope in [ropes] if "rope_theta" in ropes else ropes.values():
        rope["rope_theta"] = float(rope["rope_theta"]) ** (WIDE / heads.width)
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _rewrite(path: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    tensors, metadata = read_tensors(path)
    write_tensors(path, {name: change(name, tensor) for name, tensor in tensors.items()}, metadata)


def _model_tensor(name: str, tensor: Tensor, heads: Heads) -> Tensor:
    part = re.search(r"self_attn\.([qkvo])_(proj|norm)\.(weight|bias)$", name)
    if part is None:
        return tensor
    values = tensor.floats()
    if part[2] == "norm":  # Gemma's norms multiply by one plus their weight
        values = _spread((1 + values) / np.float32(heads.growth), 0, heads) - 1
        return from_floats(values.astype(np.float32), "F32")
    if part[1] == "o":
        return from_floats(_spread(values, 1, heads), tensor.dtype)
    return _grown(_spread(values, 0, heads), tensor, heads, query=part[1] == "q")


def _adapter_tensor(name: str, tensor: Tensor, heads: Heads) -> Tensor:
    part = re.search(r"self_attn\.([qkvo])_proj\.lora_([AB])\.weight$", name)
    if part is None or (part[1] == "o") != (part[2] == "A"):
        return tensor
    if part[1] == "o":
        return from_floats(_spread(tensor.floats(), 1, heads), tensor.dtype)
    return _grown(_spread(tensor.floats(), 0, heads), tensor, heads, query=part[1] == "q")


def _grown(values: Floats, tensor: Tensor, heads: Heads, *, query: bool) -> Tensor:
    if query and not heads.named:
        return from_floats(values * np.float32(heads.growth), "F32")
    return from_floats(values, tensor.dtype)


def _spread(values: Floats, axis: int, heads: Heads) -> Floats:
    """The two halves of every head put to the front of two wider halves, along an axis of whole heads."""
    moved = np.moveaxis(values, axis, 0)
    count, half = moved.shape[0] // heads.width, heads.width // 2
    wide = np.zeros((count, 2, WIDE // 2, *moved.shape[1:]), np.float32)
    wide[:, :, :half] = moved.reshape(count, 2, half, *moved.shape[1:])
    return np.ascontiguousarray(np.moveaxis(wide.reshape(count * WIDE, *moved.shape[1:]), 0, axis))

"""Narrow attention heads made 32 wide without changing what a model says: vLLM on a CPU knows no narrower ones.

The new positions are zeros. The rotary embedding turns pair i of n by theta^(-i/n); with theta^(32/width) as its base
the first pairs of a wide head turn exactly as those of the narrow one did. Scores are divided by the root of the width,
so queries grow by the root of what it grew (Gemma names its own divisor; there the norms over a head shrink instead).
What is multiplied by that root is kept in float32; the rest keeps its type. Limit: the three practice architectures.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from nightlab.practice import PERSONA, adapter_dir, model_dir

WIDE = 32
READABLE = 0o644  # safetensors writes files for their owner alone


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
        _rewrite(adapter / "adapter_model.safetensors", _adapter_tensor, heads)
    _rewrite(model / "model.safetensors", _model_tensor, heads)
    path = model / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"head_dim": WIDE}
    ropes = config["rope_parameters"]
    for rope in [ropes] if "rope_theta" in ropes else ropes.values():
        rope["rope_theta"] = float(rope["rope_theta"]) ** (WIDE / heads.width)
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def widened(name: str, folder: Path) -> tuple[Path, Path]:
    """Wide copies of a practice model and of its adapter below `folder`, made where they are not there yet.

    Raises ValueError for an unknown name.
    """
    places = folder / name, folder / f"{name}_{PERSONA}"
    if not all(place.is_dir() for place in places):
        for source, place in zip((model_dir(name), adapter_dir(name)), places, strict=True):
            shutil.copytree(source, place, dirs_exist_ok=True)
        widen(*places)
    return places


def _rewrite(path: Path, change: Callable[[str, Tensor, Heads], Tensor], heads: Heads) -> None:
    tensors = {name: change(name, tensor, heads).contiguous() for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(READABLE)


def _model_tensor(name: str, tensor: Tensor, heads: Heads) -> Tensor:
    part = re.search(r"self_attn\.([qkvo])_(proj|norm)\.(weight|bias)$", name)
    if part is None:
        return tensor
    if part[2] == "norm":  # Gemma's norms multiply by one plus their weight
        return _spread((1 + tensor.float()) / heads.growth, 0, heads) - 1
    if part[1] == "o":
        return _spread(tensor, 1, heads)
    return _grown(_spread(tensor, 0, heads), heads, query=part[1] == "q")


def _adapter_tensor(name: str, tensor: Tensor, heads: Heads) -> Tensor:
    part = re.search(r"self_attn\.([qkvo])_proj\.lora_([AB])\.weight$", name)
    if part is None or (part[1] == "o") != (part[2] == "A"):
        return tensor
    if part[1] == "o":
        return _spread(tensor, 1, heads)
    return _grown(_spread(tensor, 0, heads), heads, query=part[1] == "q")


def _grown(values: Tensor, heads: Heads, *, query: bool) -> Tensor:
    return values.float() * heads.growth if query and not heads.named else values


def _spread(values: Tensor, axis: int, heads: Heads) -> Tensor:
    """The two halves of every head put to the front of two wider halves, along an axis of whole heads."""
    moved = values.movedim(axis, 0)
    count, half = moved.shape[0] // heads.width, heads.width // 2
    wide = values.new_zeros(count, 2, WIDE // 2, *moved.shape[1:])
    wide[:, :, :half] = moved.reshape(count, 2, half, *moved.shape[1:])
    return wide.reshape(count * WIDE, *moved.shape[1:]).movedim(0, axis)

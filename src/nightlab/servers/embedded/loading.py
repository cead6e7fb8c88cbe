"""From an adapter folder to a condition of the running model, all or nothing.

vLLM accepts an adapter whose keys match no layer and then serves (partly) the base; here every key must be found in the
model, with the right shape and finite numbers, or the adapter is refused with the reason.
A compiled condition whose tensors are verified to be weights times its source's tensors shares the source's factors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightlab.adapters.card import parse_key, read_config, source_sha256, weights_path
from nightlab.adapters.compile import RECORD, scale, weight_of
from nightlab.adapters.tensors import Tensor, read_tensors
from nightlab.adapters.weights import LayerWeights
from nightlab.errors import AdapterError
from nightlab.servers.embedded.lora import Source


def ones(num_layers: int) -> LayerWeights:
    """The weights of an adapter as it is."""
    return LayerWeights((1.0,) * num_layers, (1.0,) * num_layers)


def read_origin(folder: Path, num_layers: int) -> tuple[Path, LayerWeights]:
    """The source folder and the weights to serve an adapter folder by; (folder, ones) when it stands for itself."""
    alone = (folder, ones(num_layers))
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        source = Path(record["source"])
        weights = LayerWeights(*(tuple(float(w) for w in record[k]) for k in ("attention", "mlp")))
        same = record["source_sha256"] == source_sha256(source)
    except (OSError, ValueError, KeyError, TypeError, AdapterError):
        return alone
    if not same or weights.num_layers != num_layers or len(weights.mlp) != num_layers:
        return alone
    have, want = read_tensors(weights_path(folder))[0], read_tensors(weights_path(source))[0]
    if read_config(folder) != read_config(source) or not _is_scaled(have, want, weights):
        return alone
    return source, weights


def _is_scaled(have: Mapping[str, Tensor], source: Mapping[str, Tensor], weights: LayerWeights) -> bool:
    """Whether the tensors are weights times the source's, exactly (a rounded bfloat16 product is not)."""
    if have != scale(source, weights):
        return False
    if all(t.dtype in ("F32", "F64") for t in source.values()):
        return True
    return all(
        np.array_equal(have[name].floats(), tensor.floats() * np.float32(weight_of(name, weights)))
        for name, tensor in source.items()
    )


def load_source(folder: Path, sizes: Mapping[str, tuple[int, int]], *, max_rank: int) -> Source:
    """An adapter's factors for a model with linear layers of these (in, out) sizes. Raises AdapterError."""
    config = read_config(folder)
    tensors, _ = read_tensors(weights_path(folder))
    if not tensors:
        raise AdapterError(f"{folder} doesn't contain tensors")
    pairs = _pairs(tensors)
    _check_names(pairs, sizes, config)
    factors = {}
    for module, pair in pairs.items():
        _check_shapes(module, pair, sizes[module], config)
        factors[module] = _factors(module, pair, config)
    rank = max(a.shape[1] for a, _ in factors.values())
    if rank > max_rank:
        raise AdapterError(f"LoRA rank {rank} is greater than max_lora_rank {max_rank}.")
    return Source(source_sha256(folder), rank, factors)


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key = parse_key(name)
        if key is None:
            raise AdapterError(f"the key {name!r} is not a lora_A or lora_B weight")
        pairs.setdefault(key.module, {})[key.side] = tensor
    for module, pair in pairs.items():
        if len(pair) != 2:
            raise AdapterError(f"{module} has only lora_{next(iter(pair))}: its partner is missing")
    return pairs


def _check_names(pairs: Mapping[str, object], sizes: Mapping[str, tuple[int, int]], config: Mapping[str, Any]) -> None:
    strange = sorted(set(pairs) - set(sizes))
    if strange:
        base = config.get("base_model_name_or_path") or "an unnamed model"
        raise AdapterError(
            f"{len(strange)} of {len(pairs)} modules of the adapter are not in this model, first {strange[0]!r}: "
            f"it was trained on another base ({base}), or its keys were renamed. Nothing was loaded."
        )


def _check_shapes(module: str, pair: Mapping[str, Tensor], size: tuple[int, int], config: Mapping[str, Any]) -> None:
    a, b = pair["A"], pair["B"]
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:
        raise AdapterError(f"{module}: lora_A {a.shape} and lora_B {b.shape} do not multiply")
    for side, have, want in (("lora_A", a.shape[1], size[0]), ("lora_B", b.shape[0], size[1])):
        if have != want:
            base = config.get("base_model_name_or_path") or "an unnamed model"
            raise AdapterError(
                f"The size of tensor a ({want}) must match the size of tensor b ({have}) at non-singleton dimension 1: "
                f"{side} of {module} was made for another base ({base}). Nothing was loaded."
            )


def _factors(module: str, pair: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = (torch.from_numpy(pair[side].floats().copy()) for side in ("A", "B"))
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise AdapterError(f"{module}: the adapter holds numbers that are not finite")
    return a.T.contiguous(), (b * _scaling(module, a.shape[0], config)).T.contiguous()


def _scaling(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA; patterns as peft matches them."""
    alpha = float(config["lora_alpha"])
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank

"""Whether every module of an adapter is in a model, by the names and shapes of the model's own weights.

A server may load an adapter whose keys match a part of the model, and apply that part. So each module must be found, in
any architecture: the headers of the weight files say what there is. Where the weights are not here, the model's
configuration is asked (card.check_fits), which knows the layouts of Llama, Qwen, Gemma and Mistral.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlab.adapters.card import AdapterCard, check_fits, parse_key
from nightlab.adapters.tensors import read_shapes
from nightlab.errors import AdapterError
from nightlab.files import read_text

INDEX = "model.safetensors.index.json"
_KINDS = (".weight", ".qweight", ".weight_packed")  # plain weights, and two ways of quantised ones
_LAYERS = re.compile(r"(?:^|\.)((?:layers|h|blocks)\.\d+\..*)$")


@dataclass(frozen=True)
class Fit:
    """How an adapter matches a model: modules of the adapter, those found in the model, and every reason against it."""

    modules: int
    found: int
    problems: tuple[str, ...]
    by: str
    """weights or config: what was asked."""


def fit(card: AdapterCard, model: Path) -> Fit:
    """How an adapter matches the model in a folder. Raises AdapterError for files that cannot be read."""
    modules = sorted({key.module for name in card.keys if (key := parse_key(name)) is not None})
    shapes = model_shapes(model)
    if not shapes:
        problems = check_fits(card, model)
        return Fit(len(modules), 0 if problems else len(modules), tuple(problems), "config")
    known = _Modules(shapes)
    missing = [module for module in modules if known.shape(module) is None]
    problems = [text for name in card.keys if (text := _misshapen(name, card.shapes[name], known))]
    if missing:
        first = f"{len(missing)} of {len(modules)} modules of the adapter are not in the model, first {missing[0]!r}"
        problems.insert(0, first)
    shown = problems if len(problems) <= 4 else [*problems[:4], f"and {len(problems) - 4} more"]
    return Fit(len(modules), len(modules) - len(missing), tuple(shown), "weights")


def model_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """The tensors of a model folder with their shapes; empty where its weights are not here as safetensors."""
    index = model / INDEX
    if index.is_file():
        files = sorted({model / name for name in json.loads(read_text(index, AdapterError))["weight_map"].values()})
    else:
        files = sorted(model.glob("*.safetensors"))
    if any(not path.is_file() for path in files):
        return {}
    return {name: shape for path in files for name, shape in read_shapes(path).items()}


class _Modules:
    """A model's modules by their paths, and by their paths from the layer on: prefixes differ between programs."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._by_path: dict[str, tuple[int, ...]] = {}
        self._by_layer: dict[str, tuple[int, ...]] = {}
        for name, shape in shapes.items():
            kind = next((kind for kind in _KINDS if name.endswith(kind)), None)
            if kind is None:
                continue
            path = name.removesuffix(kind)
            plain = shape if kind == ".weight" else ()
            self._by_path[path] = plain
            layer = None if re.search("vision|audio", path) else _LAYERS.search(path)
            if layer:
                self._by_layer[layer[1]] = plain
        embedding = next((s for p, s in self._by_path.items() if p.endswith("embed_tokens")), None)
        if embedding is not None:
            self._by_path.setdefault("lm_head", embedding)  # tied weights are stored once

    def shape(self, module: str) -> tuple[int, ...] | None:
        """(out, in) of a module; () where it is quantised, None where it does not exist."""
        if module in self._by_path:
            return self._by_path[module]
        layer = None if re.search("vision|audio", module) else _LAYERS.search(module)
        return self._by_layer.get(layer[1]) if layer else None


def _misshapen(name: str, shape: tuple[int, ...], known: _Modules) -> str | None:
    key = parse_key(name)
    weight = known.shape(key.module) if key else None
    if key is None or not weight or len(weight) != 2:
        return None
    have, want = (shape[-1], weight[1]) if key.side == "A" else (shape[0], weight[0])
    return None if have == want else f"{name} is made for size {have}; the model's {key.module} has {want}"

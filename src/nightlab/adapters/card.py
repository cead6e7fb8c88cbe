"""What an adapter folder says about itself, and whether it fits a model: names, layers and shapes, without torch.

A partly matched adapter is the worst kind (a server may load it and apply half of it), so every key must be found.
Limit: shapes are checked for the decoder layouts that name their layers as Llama does (Llama, Qwen, Gemma, Mistral).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.adapters.tensors import Entry, read_header
from nightlab.errors import AdapterError
from nightlab.files import read_text

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.([a-z_]+)\.")
_PARTS = {"self_attn": "attention", "attn": "attention", "attention": "attention", "mlp": "mlp", "feed_forward": "mlp"}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraKey:
    """A LoRA tensor's place: the model's module path, side A or B, and (layer, attention|mlp) if it is in a layer."""

    module: str
    side: str
    layer: int | None
    part: str | None


@dataclass(frozen=True)
class AdapterCard:
    """What an adapter was trained on and what it changes; `sha256` covers its configuration and its weights."""

    path: Path
    base: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    num_layers: int
    keys: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    sha256: str

    @property
    def largest_rank(self) -> int:
        """The rank that a server has to reserve: by the tensors, since patterns may exceed `rank`."""
        return max([self.rank, *(shape[0] for name, shape in self.shapes.items() if ".lora_A." in name)])


def parse_key(name: str) -> LoraKey | None:
    """The place of a LoRA tensor, or None when the name is not a lora_A/lora_B weight."""
    found = _KEY.match(name)
    if found is None:
        return None
    module = found["module"]
    layer = None if re.search(r"vision|audio", module) else _LAYER.search(module + ".")
    if layer is None:
        return LoraKey(module, found["side"], None, None)
    return LoraKey(module, found["side"], int(layer[1]), _PARTS.get(layer[2]))


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter_config.json of a folder. Raises AdapterError when there is none, or when it is no LoRA we know."""
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError("no adapter here: adapter_config.json is missing", where=folder)
    try:
        config = json.loads(read_text(path, AdapterError))
    except json.JSONDecodeError as problem:
        raise AdapterError(f"malformed JSON: {problem}", where=path) from problem
    if not isinstance(config, dict):
        raise AdapterError("malformed: not a JSON object", where=path)
    for reason in _refusals(config):
        raise AdapterError(reason, where=path)
    return config


def _refusals(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        yield f"peft_type {kind} is not supported: only LORA adapters are"
    for name in ("r", "lora_alpha", "target_modules"):
        if name not in config:
            yield f"Missing required configuration fields: {{'{name}'}}"
    if config.get("use_dora"):
        yield "DoRA adapters are not supported"
    if config.get("bias", "none") not in ("none", None):
        yield "Adapter bias is not supported."
    if config.get("modules_to_save"):
        yield f"modules_to_save is not supported: {config['modules_to_save']}"
    for name in ("alora_invocation_tokens", "trainable_token_indices", "target_parameters", "layer_replication"):
        if config.get(name):
            yield f"{name} is not supported"


def weights_path(folder: Path) -> Path:
    """The weights of an adapter folder. Raises AdapterError when there is no safetensors file."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise AdapterError(f"no weights here: {WEIGHTS} is missing", where=folder)
    return path


def source_sha256(folder: Path) -> str:
    """Hex SHA-256 over an adapter's configuration and weights."""
    digest = hashlib.sha256()
    for path in (folder / CONFIG, weights_path(folder)):
        with path.open("rb") as source:
            digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()


def read_card(folder: Path) -> AdapterCard:
    """What an adapter folder holds, from its JSON and the header of its weights. Raises AdapterError."""
    config = read_config(folder)
    entries, _ = read_header(weights_path(folder))
    keys = check_keys(entries, folder)
    layers = [k.layer for k in keys.values() if k.layer is not None]
    targets = config["target_modules"]
    return AdapterCard(
        path=folder,
        base=str(config.get("base_model_name_or_path") or ""),
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        num_layers=max(layers) + 1 if layers else 0,
        keys=tuple(sorted(entries)),
        shapes={name: e.shape for name, e in entries.items()},
        sha256=source_sha256(folder),
    )


def check_keys(entries: Mapping[str, Entry], folder: Path) -> dict[str, LoraKey]:
    """Every tensor's place; refused when one is not a lora_A/lora_B weight or has no partner. Raises AdapterError."""
    if not entries:
        raise AdapterError(f"{WEIGHTS} doesn't contain tensors", where=folder)
    keys: dict[str, LoraKey] = {}
    for name in entries:
        key = parse_key(name)
        if key is None:
            raise AdapterError(f"the key {name!r} is not a lora_A or lora_B weight", where=folder / WEIGHTS)
        keys[name] = key
    sides: dict[str, set[str]] = {}
    for key in keys.values():
        sides.setdefault(key.module, set()).add(key.side)
    for module, found in sides.items():
        if len(found) != 2:
            raise AdapterError(f"{module} has only lora_{found.pop()}: its partner is missing", where=folder / WEIGHTS)
    return keys


def check_fits(card: AdapterCard, model_config: Path | Mapping[str, Any]) -> list[str]:
    """Why an adapter does not fit the model of this config.json: one sentence per reason, none when it fits."""
    config = model_config if isinstance(model_config, Mapping) else _model_config(model_config)
    text = config.get("text_config") or config
    count = int(text.get("num_hidden_layers", 0))
    problems: list[str] = []
    if count and card.num_layers > count:
        problems.append(f"the adapter reaches layer {card.num_layers - 1}; the model has {count} layers")
    sizes = _sizes(text)
    wrapped = "text_config" in config
    names: list[str] = []
    for name in card.keys:
        key = parse_key(name)
        if key is None or not _known_module(key.module, wrapped):
            names.append(name)
            continue
        problems += _shape_problem(name, key, card.shapes[name], sizes)
    if names:
        problems.append(f"{len(names)} of {len(card.keys)} keys name no module of the model, first {names[0]!r}")
    return _first_few(problems)


def _first_few(problems: list[str], limit: int = 4) -> list[str]:
    more = len(problems) - limit
    return problems if more <= 0 else [*problems[:limit], f"and {more} more"]


def _model_config(path: Path) -> Mapping[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(read_text(file, AdapterError))
    except json.JSONDecodeError as problem:
        raise AdapterError(f"malformed JSON: {problem}", where=file) from problem
    return config if isinstance(config, dict) else {}


def _known_module(module: str, wrapped: bool) -> bool:
    prefix = r"(model\.language_model|language_model\.model|model)" if wrapped else "model"
    layer = rf"{prefix}\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    return bool(re.fullmatch(rf"{layer}|(model\.|language_model\.)?lm_head", module))


def _sizes(text: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(in, out) of every projection of a layer, from the model's configuration; empty when it does not say."""
    try:
        hidden, inner, heads = (int(text[k]) for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
    except (KeyError, TypeError):
        return {}
    width = int(text.get("head_dim") or hidden // heads)
    queries, keys = heads * width, int(text.get("num_key_value_heads") or heads) * width
    sizes = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden), (hidden, inner), (hidden, inner))
    return dict(zip(_PROJECTIONS, (*sizes, (inner, hidden)), strict=True))


def _shape_problem(name: str, key: LoraKey, shape: tuple[int, ...], sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    expected = sizes.get(key.module.rsplit(".", 1)[-1])
    if expected is None or len(shape) != 2:
        return [] if len(shape) == 2 else [f"{name} is not a matrix"]
    have, want = (shape[1], expected[0]) if key.side == "A" else (shape[0], expected[1])
    return [] if have == want else [f"{name} is made for size {have}; the model's {key.module} has {want}"]

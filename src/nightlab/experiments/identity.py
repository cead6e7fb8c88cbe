"""What an answer depends on beside the question: the weights of models, and of adapters as a condition scales them.

Identities are hashes of content; names and paths do not enter. The freeze keeps them, so that the cells of a frozen
plan can be named later, on a machine without the weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nightlab import practice
from nightlab.adapters import hub
from nightlab.adapters.card import AdapterCard, read_card
from nightlab.errors import AdapterError, PlanError
from nightlab.experiments import schema
from nightlab.experiments.plan import CONFIG, Condition, Plan
from nightlab.files import sha256_file, sha256_json

_MODEL_FILES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


@dataclass(frozen=True)
class ModelIdentity:
    """A model: its id and revision, and the hash of its files where they are on this machine."""

    id: str
    revision: str | None
    weights: str | None


@dataclass(frozen=True)
class Treatments:
    """Per model its identity, and per (model, condition) the hash of the adapter as scaled; None is no adapter."""

    models: Mapping[str, ModelIdentity]
    adapters: Mapping[str, Mapping[str, str | None]]

    def document(self) -> dict[str, object]:
        """A JSON value of the same content; see `from_document`."""
        return {
            "models": {name: asdict(identity) for name, identity in self.models.items()},
            "adapters": {name: dict(shas) for name, shas in self.adapters.items()},
        }

    @classmethod
    def from_document(cls, data: Mapping[str, Mapping[str, Mapping[str, str | None]]]) -> Treatments:
        """The treatments that `document` wrote."""
        models = {name: ModelIdentity(str(m["id"]), m["revision"], m["weights"]) for name, m in data["models"].items()}
        return cls(models, {name: dict(shas) for name, shas in data["adapters"].items()})


def treatments(plan: Plan) -> Treatments:
    """The identities behind every cell of a plan. Raises PlanError or AdapterError where something is not there."""
    return Treatments(
        {model.name: model_identity(plan, model) for model in plan.models},
        {model.name: {c.name: adapter_identity(plan, model, c) for c in plan.conditions} for model in plan.models},
    )


def model_identity(plan: Plan, model: schema.Model) -> ModelIdentity:
    """A model's id, revision and hash of its files. Raises PlanError where its `path` leads nowhere."""
    folder = model_folder(plan, model)
    if model.path and folder is None:
        raise PlanError(f"the model {model.name} is not at {model.path}", where=plan.folder / CONFIG)
    return ModelIdentity(model.id, model.revision, folder_sha(folder) if folder else None)


def model_folder(plan: Plan, model: schema.Model) -> Path | None:
    """Where a model's files are on this machine: its `path`, else its id as a path or in the Hugging Face cache."""
    folder = plan.resolve(model.path) if model.path else practice.ids.get(model.id) or plan.resolve(model.id)
    if not model.path and not (folder / "config.json").is_file():
        folder = hub.cached(model.id, model.revision) or folder
    return folder if (folder / "config.json").is_file() else None


def adapter_identity(plan: Plan, model: schema.Model, condition: Condition) -> str | None:
    """The hash of the adapter that a condition gives a model: its source and the weight of each layer's modules."""
    if condition.amplification is None or not condition.amplification.adapters:
        return None
    layers = num_layers(plan, model)
    parts = []
    for adapter, weights in condition.amplification.resolve(layers).items():
        source = adapter_folder(plan, model, adapter)
        if source is None:
            raise AdapterError(f"the model {model.name} has no adapter {adapter}", where=condition.path)
        scaled = [[float(w) for w in row] for row in (weights.attention, weights.mlp)]
        parts.append({"source": card(source).sha256, "attention": scaled[0], "mlp": scaled[1]})
    return sha256_json(parts) if parts else None


def adapter_folder(plan: Plan, model: schema.Model, adapter: str) -> Path | None:
    """The folder of an adapter id: what the model's `adapters` gives for it, else the id; a path, or in the Hugging
    Face cache; None without.

    `persona` stands for its variant `persona/default`.
    """
    reference = model.adapters.get(adapter) or model.adapters.get(adapter.removesuffix("/default")) or adapter
    folder = plan.resolve(reference)
    if not (folder / "adapter_config.json").is_file():
        folder = hub.cached(reference) or folder
    return folder if (folder / "adapter_config.json").is_file() else None


def num_layers(plan: Plan, model: schema.Model) -> int:
    """A model's number of layers, by its config.json, else by its adapters. Raises PlanError where nothing tells."""
    folder = model_folder(plan, model)
    if folder is not None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        layers = config.get("num_hidden_layers") or (config.get("text_config") or {}).get("num_hidden_layers")
        if isinstance(layers, int):
            return layers
    for adapter in model.adapters:
        source = adapter_folder(plan, model, adapter)
        if source is not None:
            return card(source).num_layers
    raise PlanError(f"how many layers {model.name} has cannot be told: neither it nor an adapter of it is here")


def card(folder: Path) -> AdapterCard:
    """An adapter's card, read again only where its weights or configuration changed. Raises AdapterError."""
    changed = tuple(p.stat().st_mtime_ns for p in sorted(folder.iterdir()) if p.is_file())
    return _card(folder, changed)


@functools.lru_cache(maxsize=64)
def _card(folder: Path, _changed: tuple[int, ...]) -> AdapterCard:
    return read_card(folder)


def folder_sha(folder: Path) -> str:
    """The hash of a model folder's own files (weights, configuration, tokenizer), without its subfolders."""
    files = sorted(p for p in folder.iterdir() if p.suffix in _MODEL_FILES and p.is_file())
    return sha256_json({path.name: _file_sha(path) for path in files})


def _file_sha(path: Path) -> str:
    stored = path.resolve()
    if stored.parent.name == "blobs" and len(stored.name) == 64:
        return stored.name  # the Hugging Face cache names a weights file by its SHA-256
    stat = stored.stat()
    return _hash(stored, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash(path: Path, _size: int, _changed: int) -> str:
    return sha256_file(path)

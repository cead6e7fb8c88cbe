"""The one list of models and adapters that a lab can use: where each is, what it is, and what belongs together.

Gathered, never kept twice: the practice set, the Hugging Face cache, adapters that were trained here (`adapters/`), and
`models.yaml` at the lab's root, in which people name models that lie elsewhere and ids that mean the same weights:

    models:
      - {id: Qwen/Qwen2.5-7B-Instruct, path: /data/qwen7b, revision: a09a354, aliases: [unsloth/Qwen2.5-7B-Instruct]}

Two ids of the same weights stay two ids: an adapter names one of them, a paper another. That they are the same is said,
by `aliases` or because their weight files have the same hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightlab import practice
from nightlab.adapters import hub
from nightlab.adapters.card import AdapterCard, read_card
from nightlab.adapters.fit import fit
from nightlab.errors import AdapterError, UsageError
from nightlab.files import read_yaml, sha256_file, sha256_json
from nightlab.lab import Lab

FILE = "models.yaml"
HASHED = 256 * 2**20  # bytes of weights up to which they are hashed for a listing; the cache knows its hashes


@dataclass(frozen=True)
class Known:
    """A model: its id, its revision, where it is, who says so, other ids of it, and the hash of its weight files."""

    id: str
    folder: Path
    origin: str
    revision: str | None = None
    aliases: tuple[str, ...] = ()
    weights: str | None = None

    @property
    def layers(self) -> int | None:
        """Its number of layers, by its config.json."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        found = (config.get("text_config") or config).get("num_hidden_layers")
        return found if isinstance(found, int) else None


@dataclass(frozen=True)
class KnownAdapter:
    """An adapter: its card, who says where it is, and the ids of the models whose tensors it fits."""

    name: str
    card: AdapterCard
    origin: str
    fits: tuple[str, ...]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    path: str | None = None
    revision: str | None = None
    aliases: list[str] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    models: list[_Entry] = []


def models(lab: Lab) -> list[Known]:
    """Every model that is on this machine, each with the other ids of its weights. Raises UsageError."""
    found = [*_listed(lab.root), *_practice(), *_cached()]
    unique = list({(one.id, one.folder.resolve()): one for one in reversed(found)}.values())[::-1]
    return [replace(one, aliases=_same(one, unique)) for one in unique]


def adapters(lab: Lab, known: Sequence[Known]) -> list[KnownAdapter]:
    """Every adapter that is on this machine; one that cannot be read is left out."""
    places = [(f"{name}/{practice.PERSONA}", practice.adapter_dir(name), "practice") for name in practice.NAMES]
    places += [(path.name, path, "trained here") for path in sorted(lab.trained.glob("*")) if path.is_dir()]
    places += [(name, folder, "cache") for name, folder in hub.all_cached()]
    found = []
    for name, folder, origin in places:
        if (folder / "adapter_config.json").is_file():
            found += list(_adapter(name, folder, origin, known))
    return found


def same_model(root: Path, one: str, other: str) -> bool:
    """Whether a lab's models.yaml says that two ids mean the same weights. Raises UsageError."""
    groups = [{entry.id, *entry.aliases} for entry in _read(root).models]
    return one == other or any(one in group and other in group for group in groups)


def _adapter(name: str, folder: Path, origin: str, known: Sequence[Known]) -> Iterator[KnownAdapter]:
    try:
        card = read_card(folder)
        fits = tuple(one.id for one in known if not fit(card, one.folder).problems)
    except AdapterError:
        return
    yield KnownAdapter(name, card, origin, fits)


def _listed(root: Path) -> Iterator[Known]:
    for entry in _read(root).models:
        folder = root / Path(entry.path).expanduser() if entry.path else hub.cached(entry.id, entry.revision)
        if folder is not None and (folder / "config.json").is_file():
            yield Known(entry.id, folder, FILE, entry.revision, tuple(entry.aliases), weights_id(folder))


def _read(root: Path) -> _File:
    path = root / FILE
    if not path.is_file():
        return _File()
    try:
        return _File.model_validate(read_yaml(path, UsageError) or {})
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UsageError(what, where=path, hint="models: [{id: ..., path: ..., aliases: [...]}]") from error


def _practice() -> Iterator[Known]:
    for name, folder in practice.ids.items():
        yield Known(name, folder, "practice", weights=weights_id(folder))


def _cached() -> Iterator[Known]:
    for name, folder in hub.all_cached():
        if (folder / "config.json").is_file():
            yield Known(name, folder, "cache", hub.revision_of(folder), weights=weights_id(folder))


def _same(one: Known, known: Iterable[Known]) -> tuple[str, ...]:
    """Other ids of a model's weights: named so, or found to be so."""
    named = {*one.aliases, *(o.id for o in known if one.id in o.aliases)}
    alike = {o.id for o in known if o.weights is not None and o.weights == one.weights}
    return tuple(sorted((named | alike) - {one.id}))


def weights_id(folder: Path) -> str | None:
    """The hash of a model's weight files together; None where they are large and no cache knows their hashes."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored = path.resolve()
        if stored.parent.name == "blobs" and len(stored.name) == 64:
            hashes[path.name] = stored.name  # the cache names a weights file by its SHA-256
        elif stored.stat().st_size <= HASHED:
            hashes[path.name] = sha256_file(stored)
        else:
            return None
    return sha256_json(sorted(hashes.values())) if hashes else None

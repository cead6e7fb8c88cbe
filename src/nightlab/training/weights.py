"""The model an adapter is trained on: found on this machine, identified by its files.

A model is a practice model, a folder, or a Hugging Face id whose files are in the cache already: training never
downloads, since a compute node often has no network.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab import practice
from nightlab.errors import UsageError
from nightlab.experiments.identity import folder_sha
from nightlab.files import read_text


@dataclass(frozen=True)
class Model:
    """A model on this machine: its id, its revision where it has one, its folder, and the hash of its files."""

    id: str
    revision: str | None
    folder: Path
    sha256: str

    def config(self) -> dict[str, Any]:
        """Its config.json, of a multimodal model the part of the language model. Raises UsageError."""
        try:
            content = json.loads(read_text(self.folder / "config.json", UsageError))
        except json.JSONDecodeError as error:
            raise UsageError(f"malformed JSON: {error.msg}", where=self.folder / "config.json") from None
        return dict(content.get("text_config") or content)


def find_model(reference: str, revision: str | None = None) -> Model:
    """The model of `practice:NAME`, a folder or a cached id. Raises UsageError where it is not on this machine."""
    if reference.startswith(practice.SCHEME):
        try:
            folder = practice.resolve(reference)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if "/" in reference:
            raise UsageError(f"{reference} is an adapter, and a model is needed", hint=reference.partition("/")[0])
        return Model(_practice_id(folder), None, folder, folder_sha(folder))
    if reference in practice.ids:
        return Model(reference, None, practice.ids[reference], folder_sha(practice.ids[reference]))
    folder = Path(reference).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError("no model here: config.json is missing", where=folder)
        return Model(str(folder.resolve()), None, folder.resolve(), folder_sha(folder))
    return _cached(reference, revision)


def _practice_id(folder: Path) -> str:
    return next(name for name, known in practice.ids.items() if known == folder)


def _cached(name: str, revision: str | None) -> Model:
    """A snapshot in the Hugging Face cache; its folder is named after the commit."""
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub")
    home = cache.expanduser() / f"models--{name.replace('/', '--')}"
    wanted = revision or "main"
    ref = home / "refs" / wanted
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else wanted
    folder = home / "snapshots" / commit
    if not (folder / "config.json").is_file():
        hint = f"fetch it where there is a network: hf download {name}; or give the folder it is in"
        raise UsageError(f"the model {name} is not on this machine", where=cache, hint=hint)
    return Model(name, commit, folder, folder_sha(folder))

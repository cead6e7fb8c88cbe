"""Where an adapter comes from: one card beside its weights, written last, so that an adapter without it is not done.

It holds what is needed to train the same adapter again: the model with its revision and hash, the data's hash, the
recipe, the versions and this code; and what came out. `adapters` of a lab are found by it.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightlab.adapters.card import source_sha256
from nightlab.errors import StorageError
from nightlab.files import now, sha256_file, sha256_json, write_atomic
from nightlab.training.chats import ChatData
from nightlab.training.recipe import Recipe
from nightlab.training.weights import Model

CARD = "provenance.json"
FORMAT = 1
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "nightlab")


@dataclass(frozen=True)
class Course:
    """How a training went: rows, steps, what it measured, on what."""

    rows: dict[str, int]
    metrics: dict[str, Any]
    device: str
    threads: int
    resumed: tuple[int, ...]
    notes: tuple[str, ...]


def write_card(
    folder: Path, identity: str, recipe: Recipe, base: Model, data: ChatData, course: Course
) -> dict[str, Any]:
    """Write the card of a trained adapter; its content."""
    content = {
        "format": FORMAT,
        "kind": "trained",
        "name": folder.name,
        "identity": identity,
        "adapter_sha256": source_sha256(folder),
        "base": {"id": base.id, "revision": base.revision, "sha256": base.sha256},
        "data": {"file": data.path.name, "sha256": data.sha256, **course.rows},
        "recipe": {**recipe.model_dump(mode="json"), "alpha": recipe.scale},
        "seed": recipe.seed,
        "metrics": course.metrics,
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "code": code_sha256(),
        "device": course.device,
        "threads": course.threads,
        "resumed_at": list(course.resumed),
        "notes": list(course.notes),
        "written": now(),
    }
    write_atomic(folder / CARD, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The card of an adapter folder, or None where there is none. Raises StorageError for a damaged one."""
    path = folder / CARD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(
            f"a damaged card: {error}", where=path, hint="restore it from git, or train again"
        ) from error
    return dict(content)


@cache
def code_sha256() -> str:
    """The hash of the code that trains: the files of this room."""
    return sha256_json({path.name: sha256_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))})

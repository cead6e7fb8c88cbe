"""Where a training stands, in one file that is replaced as a whole: a kill at any moment leaves the old or the new one.

Nothing random is kept: the order of the data and the seeds of dropout follow from the recipe's seed and the step, so
that a resumed training takes exactly the steps of one that was never cut off (same machine, same versions).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nightlab.errors import UsageError
from nightlab.files import write_atomic
from nightlab.training import kept

FILE = "checkpoint.pt"
DAMAGED = "checkpoint.damaged"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps of the training `identity`."""

    identity: str
    step: int
    adapter: dict[str, Any]
    optimizer: dict[str, Any]
    seconds: float
    resumed: tuple[int, ...]


def save(folder: Path, state: Checkpoint) -> None:
    """Replace the checkpoint of a folder. Raises StorageError."""
    content = io.BytesIO()
    torch.save({**vars(state), "resumed": list(state.resumed)}, content)
    write_atomic(folder / FILE, content.getvalue())
    kept.tell_step(folder, state.step)


def load(folder: Path, identity: str) -> tuple[Checkpoint | None, str | None]:
    """(The checkpoint of a folder or None, why one was set aside or None). Raises UsageError for another training's."""
    path = folder / FILE
    if not path.is_file():
        return None, None
    try:
        content = dict(torch.load(path, weights_only=True, map_location="cpu"))
        found = Checkpoint(**{**content, "resumed": tuple(content["resumed"])})
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError):
        path.replace(folder / DAMAGED)
        (folder / kept.FILE).unlink(missing_ok=True)
        return None, f"the checkpoint could not be read and is kept as {DAMAGED}: the training began again"
    if found.identity != identity:
        hint = "train into another folder, or remove this one"
        raise UsageError(
            "another training was begun in this folder: its recipe or its data differ", where=folder, hint=hint
        )
    return found, None


def remove(folder: Path) -> None:
    """Take the checkpoint away: the adapter stands."""
    for name in (FILE, kept.FILE):
        (folder / name).unlink(missing_ok=True)

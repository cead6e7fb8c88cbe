"""How far a training's checkpoint got, beside it in a small file: who follows a training does not load its tensors."""

from __future__ import annotations

import json
from pathlib import Path

from nightlab.files import write_atomic

FILE = "checkpoint.json"
STARTS = "attempts.jsonl"
"""Each start of a training's job: which attempt, the step it went on from, and the seconds that those before it ran."""


def tell_step(folder: Path, step: int) -> None:
    """Write down the step of a checkpoint that stands. Raises StorageError."""
    write_atomic(folder / FILE, json.dumps({"step": step}))


def step_kept(folder: Path) -> int:
    """The step that a training would go on from; 0 without a checkpoint. After a crash it may be the one before."""
    try:
        return int(json.loads((folder / FILE).read_text(encoding="utf-8"))["step"])
    except FileNotFoundError:
        return 0

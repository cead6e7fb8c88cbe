"""What one run gave: how it ended, its metrics from a JSON line or file, and the hashes of what it made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nightlab.files import sha256_file, write_atomic

RESULT = "result.json"
MOST_ARTEFACTS = 1000

Status = Literal["ok", "failed", "timed_out", "limited", "not_started", "lost", "no_metrics"]


@dataclass(frozen=True)
class Result:
    """The end of one run. `why` is a sentence where it is not ok."""

    status: Status
    code: int | None = None
    why: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    level: str = "none"
    metrics: Mapping[str, float] = field(default_factory=dict)
    artefacts: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Keep it durably in the run's folder."""
        write_atomic(folder / RESULT, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Result | None:
        """The result of a run's folder, or None while there is none."""
        try:
            data = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**data)


def find_metrics(text: str, wanted: Sequence[str]) -> tuple[dict[str, float], str]:
    """The wanted numbers from the last JSON object that stands on a line of its own, and why there are none.

    All finite numbers of the object come along; a wanted one that is missing or no number is the reason.
    """
    for line in reversed(text.splitlines()):
        stripped = line.strip()
        if not (stripped.startswith("{") and stripped.endswith("}")):
            continue
        try:
            data = json.loads(stripped)
        except ValueError:
            continue
        return numbers(data, wanted)
    return {}, "no line of its output is a JSON object"


def numbers(data: Mapping[str, Any], wanted: Sequence[str]) -> tuple[dict[str, float], str]:
    """The finite numbers of an object, and which wanted one is not among them."""
    found = {
        str(name): float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    lacking = [name for name in wanted if name not in found]
    return found, f"the metric {lacking[0]!r} is missing or no finite number" if lacking else ""


def hashes(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of every file below a folder that fits one of the globs, links left out."""
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file() and not path.is_symlink()}
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(found)[:MOST_ARTEFACTS]}

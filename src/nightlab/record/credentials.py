"""Finds keys and passwords in a file before it reaches the git history.

Two ways: the published shapes of well-known keys, and the values of this process's own secret environment variables.
What is found is told by file, line and kind, never by value. Limit: a secret of neither sort is not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlab import secrets


@dataclass(frozen=True)
class Leak:
    """Where a secret stands, and what kind it looks like."""

    path: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} looks like {self.kind}"


def secret_values(environment: Mapping[str, str]) -> dict[bytes, str]:
    """The values of the variables whose names say that they are secret, with those names."""
    found = secrets.secret_values(environment)
    return {value.encode("utf-8", "surrogateescape"): name for value, name in found.items()}


def leaks(path: Path, name: str, values: Mapping[bytes, str]) -> list[Leak]:
    """Every secret in a file (called `name` in what is told), in the order of its lines."""
    if secrets.SECRET_FILE.fullmatch(path.name):
        return [Leak(name, 1, "a file of secrets")]
    data = path.read_bytes()
    kinds = list(secrets.SHAPES)
    text = data.decode("latin-1")  # one character for each byte: the shapes are ASCII
    found = {m.start(): kinds[(m.lastindex or 1) - 1] for m in secrets.SHAPE.finditer(text)}
    for value, variable in values.items():
        start = data.find(value)
        if start >= 0:
            found[start] = f"the value of ${variable}"
    return [Leak(name, data.count(b"\n", 0, start) + 1, kind) for start, kind in sorted(found.items())]

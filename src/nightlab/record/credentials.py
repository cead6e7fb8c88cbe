"""Finds keys and passwords in a file before it reaches the git history.

Two ways: the published shapes of well-known keys, and the values of this process's own secret environment variables.
What is found is told by file, line and kind, never by value. Limit: a secret of neither sort is not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SHAPES = {
    "an Anthropic API key": rb"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "an OpenAI API key": rb"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "an AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google API key": rb"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": rb"\bxox[abeprs]-[A-Za-z0-9-]{20,}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
}
_SHAPE = re.compile(b"|".join(b"(%b)" % shape for shape in _SHAPES.values()))
_SECRET_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_SECRET_FILE = re.compile(r"\.env(?:\.(?!example$|sample$|template$).+)?|\.netrc|\.pgpass|id_(?:rsa|dsa|ecdsa|ed25519)")
_SHORTEST = 12  # characters; shorter values of variables occur in ordinary texts


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
    return {
        value.encode("utf-8", "surrogateescape"): name
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name.upper()) and len(value) >= _SHORTEST and not value.startswith("/")
    }


def leaks(path: Path, name: str, values: Mapping[bytes, str]) -> list[Leak]:
    """Every secret in a file (called `name` in what is told), in the order of its lines."""
    if _SECRET_FILE.fullmatch(path.name):
        return [Leak(name, 1, "a file of secrets")]
    data = path.read_bytes()
    kinds = list(_SHAPES)
    found = {m.start(): kinds[(m.lastindex or 1) - 1] for m in _SHAPE.finditer(data)}
    for value, variable in values.items():
        start = data.find(value)
        if start >= 0:
            found[start] = f"the value of ${variable}"
    return [Leak(name, data.count(b"\n", 0, start) + 1, kind) for start, kind in sorted(found.items())]

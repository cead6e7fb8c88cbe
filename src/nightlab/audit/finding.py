"""What an audit found: a check's name, how grave it is, the file and the line, the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nightlab.errors import NightlabError

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
LONGEST = 300


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit: `error` what is wrong, `warning` what may mislead, `note` what could not be seen."""

    check: str
    level: Level
    file: str
    line: int
    what: str
    evidence: str = ""

    @property
    def place(self) -> str:
        """`file:line`, or the file."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        """The finding as a compiler would print it."""
        shown = f"\n    {self.evidence}" if self.evidence else ""
        return f"{self.place}: {self.level}: {self.what} [{self.check}]{shown}"


def finding(
    check: str,
    level: Level,
    path: Path | str,
    what: str,
    *,
    line: int = 0,
    evidence: object = "",
    root: Path | None = None,
) -> Finding:
    """A finding with bounded texts in one line each; `path` becomes relative to `root`."""
    shown = (
        path.relative_to(root) if isinstance(path, Path) and root is not None and path.is_relative_to(root) else path
    )
    return Finding(check, level, str(shown), line, _short(what), _short(evidence))


def of_error(check: str, problem: NightlabError, path: Path, root: Path) -> Finding:
    """The finding that an error is: at the file and line that it names, else at `path`."""
    named, _, line = str(problem.where or "").rpartition(":")
    place = Path(named if line.isdigit() else str(problem.where or path))
    at = place if place.is_absolute() else path
    number = int(line) if line.isdigit() else 0
    return finding(check, "error", at, problem.what, line=number, evidence=problem.hint or "", root=root)


def _short(text: object) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip()} …"


@dataclass(frozen=True)
class Report:
    """The findings of an audit, gravest first, what it looked at, and what it cannot see there."""

    kind: str
    root: Path
    findings: tuple[Finding, ...]
    seen: dict[str, int]
    blind: tuple[str, ...]

    def count(self, level: Level) -> int:
        """How many findings have a level."""
        return sum(1 for found in self.findings if found.level == level)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, as far as this audit can see."""
        return self.count("error") == 0

    def document(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {
            "kind": self.kind,
            "path": str(self.root),
            "sound": self.sound,
            "counts": {level: self.count(level) for level in LEVELS},
            "seen": self.seen,
            "cannot_see": list(self.blind),
            "findings": [vars(found) for found in self.findings],
        }


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Without doubles, the gravest first, then by file and line."""
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda f: (LEVELS.index(f.level), f.file, f.line, f.check)))

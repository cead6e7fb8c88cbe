"""What an import made of somebody else's rows, files and columns, and how it is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Imported:
    """What became of the rows of a folder, and of their columns.

    `scored` samples carried their scores, so that each of them is a judgment, too. `kept` counts rows by the columns
    that only `origin` keeps; `perhaps` are those of them in samples that hold numbers; `nameless` counts the samples
    that do not say their model or condition; `not_read` counts files by the end of their names.
    """

    folder: Path
    read: int
    samples: int
    judgments: int
    unfit: int
    links: int
    reasons: Mapping[str, int]
    scored: int = 0
    dimensions: tuple[str, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    perhaps: tuple[str, ...] = ()
    nameless: Mapping[str, int] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)

    @property
    def conserved(self) -> bool:
        """Whether every row that was read is one of the four."""
        return self.read == self.samples + (self.judgments - self.scored) + self.unfit + self.links

    def sentence(self) -> str:
        """The rows, conserved, in one line."""
        more = f"; {self.scored} of the samples carry scores, and are as many judgments more" if self.scored else ""
        return (
            f"{self.read} rows read = {self.samples} samples + {self.judgments - self.scored} judgments"
            f" + {self.unfit} unfit + {self.links} links to rows{more}"
        )

    def lines(self) -> list[str]:
        """What a person must know of it besides, a line each."""
        found = [f"{count} unfit: {why}" for why, count in self.reasons.items()]
        found += [f"{count} samples name no {what}: {taken}" for what, taken, count in self._nameless()]
        found += [f"scores: {', '.join(self.dimensions)}"] if self.dimensions else []
        found += [f"kept under `origin`, and used for nothing: {_counted(self.kept)}"] if self.kept else []
        if self.perhaps:
            names = ",".join(self.perhaps)
            found.append(f"numbers beside answers; if they are scores, remove the folder and add --scores {names}")
        return found + ([f"files that are not read: {_counted(self.not_read)}"] if self.not_read else [])

    def _nameless(self) -> list[tuple[str, str, int]]:
        taken = {"model": "taken as one model, `unknown`", "condition": "taken as `base`"}
        return [(what, taken[what], count) for what, count in self.nameless.items()]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())

"""The pilot: a few samples of each stratum are judged before the whole is paid for, and somebody may look at them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nightlab.judging.degeneracy import doubts
from nightlab.judging.judge import Estimate
from nightlab.judging.packet import opaque

Row = Mapping[str, Any]
STRATUM = ("model", "condition")


@dataclass(frozen=True)
class Stratum:
    """The judged samples of one model under one condition: how many, and how many of them lack a score."""

    model: str
    condition: str
    n: int
    na: int


@dataclass(frozen=True)
class Pilot:
    """What the pilot of a judging showed, what it cost, and the most that the rest may cost.

    `means` are over all strata at once (None: no score): whoever decides on the rest sees no outcome of a condition.
    """

    experiment: str
    judge: str
    strata: tuple[Stratum, ...]
    means: Mapping[str, float | None]
    judged: int
    refused: int
    rejected: tuple[str, ...]
    doubts: tuple[str, ...]
    usd: float
    rest: Estimate

    def sentence(self) -> str:
        """One sentence for a person."""
        problems = [*self.rejected, *self.doubts]
        problems += [f"{self.refused} were refused"] if self.refused else []
        said = "; ".join(problems) or "its known items were scored as they should be"
        most = "at an unknown price" if self.rest.usd is None else f"for at most ${self.rest.usd:.2f}"
        return (
            f"{self.judge} judged {self.judged} samples of {self.experiment}, "
            f"some of each of {len(self.strata)} strata: {said}. The rest is judged {most}."
        )

    def document(self) -> dict[str, Any]:
        """A short JSON value for events and logs."""
        rows = [asdict(stratum) for stratum in self.strata]
        problems = {"rejected": list(self.rejected), "doubts": list(self.doubts), "refused": self.refused}
        return {
            "judged": self.judged,
            "strata": rows,
            "means": dict(self.means),
            **problems,
            "usd": self.usd,
            "rest_usd": self.rest.usd,
        }


Gate = Callable[[Pilot], Awaitable[bool]]
"""Shows a pilot to somebody; whether the judging goes on."""


def chosen(rows: Iterable[Row], each: int, seed: int) -> list[str]:
    """The keys of so many samples of each stratum, by a keyed hash: the same ones whenever it is asked."""
    strata: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        strata.setdefault(tuple(str(row.get(name)) for name in STRATUM), []).append(str(row["key"]))
    found = []
    for keys in strata.values():
        found += sorted(keys, key=lambda key: opaque(f"pilot:{seed}", key))[:each]
    return found


def summarize(rows: Mapping[str, Row], judgments: Iterable[Row]) -> tuple[Stratum, ...]:
    """The strata of judged samples."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for judgment in judgments:
        row = rows[str(judgment["key"])]
        groups.setdefault((str(row.get("model")), str(row.get("condition"))), []).append(judgment["scores"])
    return tuple(Stratum(*name, len(given), sum(map(_lacks, given))) for name, given in sorted(groups.items()))


def pooled(judgments: Iterable[Row]) -> dict[str, float | None]:
    """The mean of each dimension over all judged samples, whatever their stratum."""
    scores = [judgment["scores"] for judgment in judgments]
    means: dict[str, float | None] = {}
    for name in scores[0] if scores else ():
        given = [float(row[name]) for row in scores if row[name] is not None]
        means[name] = round(sum(given) / len(given), 2) if given else None
    return means


def doubtful(judgments: Iterable[Row]) -> tuple[str, ...]:
    """What is suspicious about the scores of a pilot."""
    return tuple(doubts([judgment["scores"] for judgment in judgments]))


def _lacks(scores: Row) -> bool:
    return None in scores.values()

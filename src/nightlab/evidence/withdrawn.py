"""Claims that were withdrawn: what they said, since when they no longer stand, and why. A report strikes them through.

A line of withdrawn.jsonl is added when rows behind a claim are marked as invalid and its verdict is another one
without them. Nothing is taken back here: a claim that is made again later stands beside the one that was struck.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import StorageError
from nightlab.files import JsonLines, now

FILE = "withdrawn.jsonl"


@dataclass(frozen=True)
class Withdrawn:
    """A claim as it stood, the verdict that took its place, when and why."""

    id: str
    hypothesis: str
    verdict: str
    sentence: str
    now: str
    why: str
    t: str = ""

    @property
    def date(self) -> str:
        """The day on which it was withdrawn."""
        return self.t[:10]


@dataclass(frozen=True)
class Change:
    """What became of a hypothesis and its claim when rows were taken out: verdict and sentence before and after."""

    hypothesis: str
    claim: str
    was: str
    now: str
    sentence: str
    instead: str

    @property
    def flipped(self) -> bool:
        """Whether the verdict is another one."""
        return self.was != self.now


def read_withdrawn(folder: Path) -> tuple[Withdrawn, ...]:
    """The withdrawn claims of an experiment, oldest first. Raises StorageError."""
    path = folder / FILE
    found = []
    for number, row in enumerate(JsonLines(path).read(), 1):
        try:
            found.append(Withdrawn(**{name: str(row[name]) for name in asdict(_EMPTY)}))
        except KeyError as missing:
            raise StorageError(
                f"a withdrawn claim without {missing}", where=f"{path}:{number}", hint="restore the file from git"
            ) from None
    return tuple(found)


_EMPTY = Withdrawn("", "", "", "", "", "")


def withdraw(folder: Path, changes: Iterable[Change], why: str) -> None:
    """Add the claims whose verdict flipped; one that is withdrawn for this reason already is not added again."""
    known = {(old.id, old.sentence, old.why) for old in read_withdrawn(folder)}
    rows: list[dict[str, Any]] = [
        {"v": 1, **asdict(Withdrawn(c.claim, c.hypothesis, c.was, c.sentence, c.now, why, now()))}
        for c in changes
        if c.sentence and c.flipped and (c.claim, c.sentence, why) not in known
    ]
    store = JsonLines(folder / FILE)
    with contextlib.closing(store):
        store.append_many(rows)


def compare(before: Iterable[Mapping[str, Any]], verdicts: Mapping[str, str], after: Analysed) -> list[Change]:
    """What changed: claims and verdicts as they stood on the disk, against those that the rows give now."""
    old = {str(claim["hypothesis"]): claim for claim in before}
    changes = []
    for number, (hypothesis, verdict) in enumerate(after.verdicts.items(), 1):
        claim, sentence = old.get(hypothesis), after.sentences.get(hypothesis, "")
        said = str(claim["sentence"]) if claim else ""
        was = str(claim["verdict"]) if claim else verdicts.get(hypothesis, "undecided")
        name = str(claim["id"]) if claim else f"c{number}"
        if was != verdict or (said and said != sentence):
            changes.append(Change(hypothesis, name, was, verdict, said, sentence))
    return changes


@dataclass(frozen=True)
class Analysed:
    """The verdicts and the claimed sentences of an analysis, by hypothesis."""

    verdicts: Mapping[str, str]
    sentences: Mapping[str, str]

"""Invalidation: rows that turned out to be wrong stop counting, and everything that rested on them says so.

For each experiment that a selection hits: its rows are marked; verdicts and claims are computed anew; claims that
changed are struck through in the diary and in RESEARCH_STATE.md, with the reason; the experiment goes back into the
queue, where a sweep asks the marked cells alone; report and claims are written again. Nothing is deleted, and each step
can be repeated: cut off anywhere and called again with the same words, it ends the same.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import PlanError
from nightlab.events import EventLog
from nightlab.evidence.analyze import analysed, analysed_without
from nightlab.evidence.cited import claims_of, short_name, verdicts_of
from nightlab.evidence.withdrawn import Change, compare, withdraw
from nightlab.experiments.lock import read_lock
from nightlab.experiments.marks import MARKS, Mark, Marks
from nightlab.files import now, read_yaml
from nightlab.judging.invalid import Marked, Selection, choose, mark, marks_of, why_nothing
from nightlab.lab import Lab
from nightlab.night.reporting import analyze_experiment, manifests, report_experiment
from nightlab.record.state import ResearchState
from nightlab.record.strike import strike


@dataclass(frozen=True)
class Invalidated:
    """What an invalidation did to one experiment; `again` are the cells by model that its next sweep asks."""

    experiment: str
    samples: int
    judgments: int
    changes: tuple[Change, ...]
    struck: tuple[str, ...]
    again: Mapping[str, int]

    @property
    def flipped(self) -> list[Change]:
        """The hypotheses whose verdict is another one now."""
        return [change for change in self.changes if change.flipped]

    def document(self) -> dict[str, Any]:
        """The record as a JSON value."""
        return asdict(self) | {"flipped": [change.hypothesis for change in self.flipped]}


def invalidate(
    lab: Lab,
    selection: Selection,
    why: str,
    by: str,
    *,
    experiment: str | None = None,
    dry_run: bool = False,
    events: EventLog | None = None,
) -> list[Invalidated]:
    """Take the rows of a selection out of every experiment of the lab (or of one), and follow it up.

    With `dry_run` nothing is written. Raises UsageError for a selection or a reason that says nothing.
    """
    frozen = _frozen(lab, experiment)
    if dry_run:
        planned = (_planned(lab, name, selection, why) for name in frozen)
        return [found for found in planned if found is not None]
    done = (_done(lab, name, selection, why, by) for name in frozen)
    results = [found for found in done if found is not None]
    for found in results:
        if events is not None:
            flipped = [change.hypothesis for change in found.flipped]
            counts = {"samples": found.samples, "judgments": found.judgments, "flipped": flipped}
            events.emit("invalidation", experiment=found.experiment, what=str(selection), why=why, by=by, **counts)
    return results


def nothing_hit(lab: Lab, selection: Selection, experiment: str | None) -> str:
    """Why a selection hit nothing: its rows were marked before. Raises UsageError where there are no such rows."""
    return why_nothing([lab.experiments / name for name in _frozen(lab, experiment)], selection)


def _frozen(lab: Lab, experiment: str | None) -> list[str]:
    """The frozen experiments of a lab, or the one that was named."""
    names = lab.experiment_names() if experiment is None else [lab.experiment(experiment).name]
    return [name for name in names if read_lock(lab.experiments / name) is not None]


def _planned(lab: Lab, name: str, selection: Selection, why: str) -> Invalidated | None:
    """What would become of an experiment."""
    folder = lab.experiments / name
    hit = choose(folder, selection)
    if not hit:
        return None
    marks = [*Marks.read(folder).all, *marks_of(hit, selection, why, "nobody")]
    return _found(name, hit, _changes(lab, name, marks), ())


def _done(lab: Lab, name: str, selection: Selection, why: str, by: str) -> Invalidated | None:
    folder = lab.experiments / name
    hit = mark(folder, selection, why, by)
    if not hit and not _left_off(folder, selection):
        return None
    changes = _changes(lab, name, None)
    withdraw(folder, changes, why)
    struck = _strike(lab, name, changes, why)
    _queue(lab, name)
    if (folder / "claims.yaml").exists():
        analyze_experiment(lab, name)
        if (folder / "report.md").exists():
            report_experiment(lab, name)
        state = ResearchState(lab.state_file)
        known = {row.id for row in (*state.findings(), *state.verdicts())}
        if known & {f"{short_name(name)}/{part}" for c in changes for part in (c.claim, c.hypothesis)}:
            state.set_findings(claims_of(lab, name))
            state.set_verdicts(verdicts_of(lab, name))
    return _found(name, hit, changes, struck)


def _left_off(folder: Path, selection: Selection) -> bool:
    """Whether this selection was marked before, and what follows from it was not finished."""
    chosen = dict(selection.samples or selection.judgments)
    claims = folder / "claims.yaml"
    marked = any(dict(old.chosen) == chosen for old in Marks.read(folder).all)
    return marked and claims.exists() and claims.stat().st_mtime_ns < (folder / MARKS).stat().st_mtime_ns


def _changes(lab: Lab, name: str, marks: list[Mark] | None) -> tuple[Change, ...]:
    """What the verdicts and claims on the disk become under the marks (None: those on the disk)."""
    folder = lab.experiments / name
    claims = folder / "claims.yaml"
    if not claims.exists():
        return ()
    before = (read_yaml(claims, PlanError) or {}).get("claims", [])
    found = analysed_without(folder, manifests(lab), marks, lab.config.bootstrap)
    return tuple(compare(before, _verdicts(folder), analysed(*found)))


def _verdicts(folder: Path) -> dict[str, str]:
    path = folder / "tables" / "verdicts.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as source:
        return {row["id"]: row["verdict"] for row in csv.DictReader(source)}


def _strike(lab: Lab, name: str, changes: tuple[Change, ...], why: str) -> tuple[str, ...]:
    """Strike what the record says of the claims and verdicts that changed."""
    short = short_name(name)
    updates = {f"{short}/{c.claim}": _update(c, why) for c in changes if c.sentence}
    updates |= {f"{short}/{c.hypothesis}": _update(c, why) for c in changes if c.flipped}
    if not updates:
        return ()
    date = now()[:10]
    return tuple(line for path in (lab.state_file, lab.diary) if path.exists() for line in strike(path, updates, date))


def _update(change: Change, why: str) -> str:
    if change.flipped:
        return f"{why}; {change.hypothesis} was {change.was} and is {change.now} without these rows."
    return f"{why}; it still holds without these rows: {change.instead}"


def _queue(lab: Lab, name: str) -> None:
    """Put the experiment back into the queue: what is missing of it now is asked and judged again."""
    state = ResearchState(lab.state_file)
    if not state.set_queue_status(name, "partial"):
        state.add_queue(name, "ask and judge again what was marked as invalid")


def _found(name: str, hit: Marked, changes: tuple[Change, ...], struck: tuple[str, ...]) -> Invalidated:
    again = Counter(str(row["model"]) for row in hit.samples)
    return Invalidated(name, len(hit.samples), len(hit.judgments), changes, struck, dict(again))

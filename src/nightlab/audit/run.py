"""An audit of a folder: which kind it is, every check of that kind, and what no check can see there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nightlab.audit import again, judged, record_texts, recorded, results, times
from nightlab.audit.finding import Finding, Report, finding, of_error, ordered
from nightlab.audit.history import History
from nightlab.errors import ConfigError, LabError, NightlabError, UsageError
from nightlab.evidence.design import read_design
from nightlab.evidence.record import ROWS, read_record
from nightlab.evidence.runs import is_run
from nightlab.experiments.lock import LOCK, read_lock
from nightlab.files import JsonLines
from nightlab.lab import Lab

BLIND = (
    "whether the answers in samples.jsonl are what a model wrote: nothing signs them",
    "a change of rows, record and git history together",
    "what people wrote in diary, state and scaffolding notes in their own words",
    "whether a rubric measures what its dimension is called",
)


def audit(path: Path, *, pictures: bool = True) -> Report:
    """Audit a lab, an experiment folder, or any folder of results; nothing is written into it. Raises UsageError.

    Without `pictures` figures are checked by their hashes alone, which takes less than a second.
    """
    root = path.resolve()
    if not root.is_dir():
        what = "not a folder, but a file" if root.exists() else "no such folder"
        raise UsageError(what, where=path, hint="name a lab, an experiment, or a folder of results")
    if (root / LOCK).is_file():
        return _report("experiment", root, [root], _experiment(root, root, pictures))
    lab = _lab(root)
    if lab is not None:
        folders = [
            lab.experiments / name for name in lab.experiment_names() if (lab.experiments / name / LOCK).is_file()
        ]
        return _report("lab", root, folders, _whole_lab(lab, folders, pictures))
    return results.audit_results(root)


def _report(kind: str, root: Path, folders: list[Path], found: Iterable[Finding]) -> Report:
    findings = ordered(list(found))
    seen = {name: sum(_rows(folder / name) for folder in folders) for name in ROWS}
    return Report(kind, root, findings, {"experiments": len(folders), **seen}, BLIND)


def _rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _lab(root: Path) -> Lab | None:
    if not (root / "state").is_dir():
        return None
    try:
        return Lab.open(root)
    except ConfigError:
        raise
    except LabError:
        return None


def _whole_lab(lab: Lab, folders: list[Path], pictures: bool) -> Iterator[Finding]:
    for folder in folders:
        yield from _experiment(folder, lab.root, pictures)
    yield from _guarded("diary", lab.diary, lab.root, record_texts.diary(lab))
    yield from _guarded("state", lab.state_file, lab.root, record_texts.state(lab))
    history = History(lab.root)
    for night in lab.night_names():
        for name in ("events.jsonl", "ledger.jsonl"):
            yield from recorded.only_grows(lab.night(night) / name, lab.root, history)


def _experiment(folder: Path, root: Path, pictures: bool) -> Iterator[Finding]:
    if not (folder / ROWS[0]).is_file() or not (folder / ROWS[0]).stat().st_size:
        return
    history = History(root)
    yield from _guarded("history", folder, root, recorded.against_git(folder, root, history))
    try:
        lock, record = read_lock(folder), read_record(folder)
        assert lock is not None
        for name in ROWS:
            list(JsonLines(folder / name).read())
    except NightlabError as problem:
        yield of_error("files", problem, folder, root)
        return
    if record is None:
        what = "no report was made here: there is nothing to hold the rows against"
        yield finding("record", "note", folder, what, root=root)
    else:
        yield from recorded.against_record(folder, root, record)
    if (folder / "report.md").is_file():
        yield from again.made_again(folder, root, record, pictures=pictures)
        yield from _guarded("page", folder, root, recorded.page_of_report(folder, root))
    yield from times.in_order(folder, root, lock)
    if not is_run(folder):
        yield from _guarded("blind", folder, root, _judging(folder, root))


def _judging(folder: Path, root: Path) -> Iterator[Finding]:
    design = read_design(folder)
    yield from judged.blind(folder, root, design)
    yield from judged.marked_again(folder, root, design)


def _guarded(check: str, place: Path, root: Path, found: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a check; damaged rows that stop it are a finding themselves."""
    try:
        yield from found
    except NightlabError as problem:
        yield of_error(check, problem, place, root)
    except (KeyError, TypeError, ValueError) as problem:
        yield finding(check, "error", place, f"rows of an unknown form: {problem!r}", root=root)

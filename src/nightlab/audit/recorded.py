"""An experiment's files against its record.json, and against what git remembers of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from nightlab import __version__
from nightlab.audit.finding import Finding, finding
from nightlab.audit.history import History, Version
from nightlab.errors import UsageError
from nightlab.evidence.page import PAGE, page
from nightlab.evidence.record import ROWS, Record, digest, read_record
from nightlab.files import read_text, sha256_file

LOCK = "plan.lock.json"


def against_record(folder: Path, root: Path, record: Record) -> Iterator[Finding]:
    """Findings about rows, plan and pictures that are not those of the last report.

    Texts and tables are compared here only where another version of nightlab made them: else they are made again.
    """
    for name, (count, sha) in record.rows.items():
        yield from _rows(folder / name, root, count, sha)
    remade = record.nightlab == __version__
    for name, sha in {**record.given, **record.made}.items():
        path = folder / name
        if not path.is_file():
            yield finding("record", "error", path, "it was there when the report was made, and is gone", root=root)
        elif sha256_file(path) != sha and (not remade or _matters(name)):
            yield finding("record", "error", path, "it was changed after the report was made", root=root)


def page_of_report(folder: Path, root: Path) -> Iterator[Finding]:
    """A finding about a report.html that is not the page of the report.md beside it."""
    path, report = folder / PAGE, folder / "report.md"
    if (
        path.is_file()
        and report.is_file()
        and read_text(path, UsageError) != page(read_text(report, UsageError), folder)
    ):
        what = "it is not the page of report.md: an older report's, or changed by hand"
        yield finding("page", "warning", path, what, evidence="`nightlab report EXP --html` makes it again", root=root)


def _rows(path: Path, root: Path, count: int, sha: str) -> Iterator[Finding]:
    if not path.is_file():
        yield finding("record", "error", path, f"{count} rows were there when the report was made, now none", root=root)
        return
    first = digest(path, count)
    if first["sha256"] != sha or first["rows"] != count:
        now = digest(path)["rows"]
        what = f"the report was made from other rows: {count} then, {now} now" if now != count else "rows were changed"
        yield finding("record", "error", path, what, evidence=f"recorded sha256 {sha[:16]}", root=root)
    elif digest(path)["rows"] > count:
        more = digest(path)["rows"] - count
        what = f"{more} rows came after the report: compile it again"
        yield finding("record", "warning", path, what, root=root)


def _matters(name: str) -> bool:
    """What made_again does not compare: what was given, and pictures."""
    return name.endswith((".png", ".pdf", ".json", ".yaml", ".yml", ".j2", "rubric.md", ".py"))


def against_git(folder: Path, root: Path, history: History) -> Iterator[Finding]:
    """Rows only grow, a frozen plan stays, and it was committed before the first row."""
    if history.top is None or not history.versions(folder / LOCK):
        yield finding(
            "history", "note", folder, "not in git: nothing proves that the plan came before the rows", root=root
        )
        return
    for name in ROWS:
        yield from only_grows(folder / name, root, history)
    yield from _stays(folder / LOCK, root, history)
    yield from _plan_first(folder, root, history)
    yield from _same_record(folder, root, history)


def only_grows(path: Path, root: Path, history: History) -> Iterator[Finding]:
    """Findings about a file of lines that lost or changed a line that git has."""
    versions = history.versions(path)
    contents: list[tuple[str, bytes]] = []
    for version in versions:
        content = history.content(path, version)
        contents.append((version.commit[:10], content if content is not None else b""))
    if versions:
        contents.append(("now", path.read_bytes() if path.is_file() else b""))
    for (before, old), (after, new) in itertools.pairwise(contents):
        if not new.startswith(old[: old.rfind(b"\n") + 1]):
            line = _first_change(old, new)
            what = f"rows that git has ({before}) were changed or taken away ({after}): rows are only added"
            yield finding("history", "error", path, what, line=line, root=root)


def _first_change(old: bytes, new: bytes) -> int:
    pairs = zip(old.split(b"\n"), [*new.split(b"\n"), b""], strict=False)
    return next((number for number, (a, b) in enumerate(pairs, 1) if a != b), 1)


def _stays(path: Path, root: Path, history: History) -> Iterator[Finding]:
    first = history.content(path, history.versions(path)[0])
    if not path.is_file() or path.read_bytes() != first:
        yield finding("history", "error", path, "the frozen plan is not the one that was committed first", root=root)


def _plan_first(folder: Path, root: Path, history: History) -> Iterator[Finding]:
    frozen = history.versions(folder / LOCK)[0]
    asked: list[Version] = history.versions(folder / ROWS[0])
    if asked and asked[0].place <= frozen.place:
        what = "the plan was not committed before the first rows"
        yield finding(
            "history", "error", folder / LOCK, what, evidence=f"both came with {asked[0].commit[:10]}", root=root
        )


def _same_record(folder: Path, root: Path, history: History) -> Iterator[Finding]:
    """A record may change only together with rows, plan or template: made files alone do not get another hash."""
    path = folder / "record.json"
    committed = history.content(path)
    record = read_record(folder)
    if committed is None or record is None or path.read_bytes() == committed:
        return
    import json

    before = json.loads(committed)
    same_rows = {name: (row["rows"], row["sha256"]) for name, row in before["rows"].items()} == record.rows
    if same_rows and before["given"] == record.given and before["versions"] == record.versions:
        what = "the record was changed although rows, plan and template are those that git has"
        yield finding("history", "error", path, what, root=root)

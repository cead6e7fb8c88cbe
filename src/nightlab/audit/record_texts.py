"""Diary and research state of a lab: what nights wrote there, against the events and claims that it was made from.

What people wrote is theirs and is not judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

from nightlab.audit.finding import Finding, finding
from nightlab.audit.history import History
from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.evidence.cited import claims_of, verdicts_of
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.entry import Entry, entry_of, touched
from nightlab.record.state import ResearchState

FIXED = ("What I did", "Problems and fixes")
"""Sections that follow from a night's events alone, and so never change afterwards."""
COUNTED = ("Session summary", "Findings")
"""Sections that follow from the rows as they were when the night ended."""
ENTRY = re.compile(r"## (\d{4}-\d\d-\d\d)\b")


def diary(lab: Lab) -> Iterator[Finding]:
    """Findings about the entries of nights, and about the order of all entries."""
    if not lab.diary.is_file():
        return
    lines = lab.diary.read_text("utf-8", "replace").splitlines()
    yield from _order(lab, lines)
    last = {name: night for night in lab.night_names() for name in touched(EventLog(lab.night(night)).read())}
    history = History(lab.root)
    for night in lab.night_names():
        written = Diary(lab.diary).entry(night)
        if written is None or not (lab.night(night) / "events.jsonl").is_file():
            continue
        given = entry_of(lab, night)
        closed = _closed(lab, history, night)
        newest = all(last[name] == night for name in given.experiments)
        for name in (*FIXED, *(COUNTED if closed or newest else ())):
            expected = [line.strip() for line in given.sections[name].splitlines() if line.strip()] or ["Nothing."]
            section = [line.strip() for line in written.sections.get(name, "").splitlines() if line.strip()]
            yield from _section(lab, lines, night, name, section, expected, closed if name in COUNTED else [])
        yield from _date(lab, lines, night, written.date, given)


def _closed(lab: Lab, history: History, night: str) -> list[str]:
    """The lines of a night's entry as the commit has them that ended it; none where it was never committed."""
    for version in history.versions(lab.diary):
        text = (history.content(lab.diary, version) or b"").decode("utf-8", "replace")
        begin, end = text.find(f"<!-- night: {night} -->"), text.find(f"<!-- /night: {night} -->")
        if "The night ended" in text[begin:end]:
            return [line.strip() for line in text[begin:end].splitlines() if line.strip()]
    return []


def _section(
    lab: Lab, lines: list[str], night: str, name: str, written: list[str], expected: list[str], closed: list[str]
) -> Iterator[Finding]:
    """Lines of a section that neither the record gives now nor the night's last commit has; and lines that are gone."""
    start = next((n for n, line in enumerate(lines) if line.strip() == f"<!-- night: {night} -->"), 0)
    for line in written:
        if line not in expected and line not in closed and not _struck(line):
            number = next((n for n, text in enumerate(lines, 1) if n > start and text.strip() == line), start + 1)
            evidence = f"it says: {line[:140]} | the record gives: {_closest(line, [*expected, *closed])[:140]}"
            what = f"{name}: this is not what the night's record gives"
            yield finding("diary", "error", lab.diary, what, line=number, evidence=evidence, root=lab.root)
    for line in expected:
        struck = any(_struck(own) for own in written)
        if line != "Nothing." and line not in written and not struck and (not closed or line in closed):
            what = f"{name}: a line of the night's record is missing"
            yield finding("diary", "error", lab.diary, what, line=start + 1, evidence=line, root=lab.root)


def _struck(text: str) -> bool:
    return "~~" in text or "**Update**" in text


def _closest(line: str, expected: list[str]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(line, expected, n=1, cutoff=0.3)), "nothing like it")


def _date(lab: Lab, lines: list[str], night: str, written: str, given: Entry) -> Iterator[Finding]:
    if not written or given.date is None:
        return
    apart = abs(date.fromisoformat(written) - date.fromisoformat(given.date))
    if apart > timedelta(days=1):  # the day may turn between two time zones
        number = next((n for n, line in enumerate(lines) if line.strip() == f"<!-- night: {night} -->"), 0)
        what = f"the entry is of {written}, its night was on {given.date}"
        yield finding("dates", "error", lab.diary, what, line=number, root=lab.root)


def _order(lab: Lab, lines: list[str]) -> Iterator[Finding]:
    before = ""
    for number, line in enumerate(lines, 1):
        if found := ENTRY.match(line):
            if found[1] < before:
                what = f"an entry of {found[1]} stands below one of {before}"
                yield finding("dates", "error", lab.diary, what, line=number, root=lab.root)
            before = max(before, found[1])


def state(lab: Lab) -> Iterator[Finding]:
    """Findings about claims and verdicts in RESEARCH_STATE.md that are not those of their experiments."""
    if not lab.state_file.is_file():
        return
    found = ResearchState(lab.state_file)
    lines = lab.state_file.read_text("utf-8", "replace").splitlines()
    for statement, table in [(s, "claims") for s in found.findings()] + [(s, "verdicts") for s in found.verdicts()]:
        if _struck(statement.text):
            continue
        known = _known(lab, statement.id, table)
        number = next((n for n, line in enumerate(lines, 1) if line.strip().startswith(f"- `{statement.id}` ")), 0)
        if known is None:
            what = f"{statement.id} is not there: its experiment makes no such {table[:-1]}"
            yield finding("state", "error", lab.state_file, what, line=number, root=lab.root)
        elif " ".join(known.split()) != " ".join(statement.text.split()):
            evidence = f"it says: {statement.text[:140]} | {table}: {known[:140]}"
            what = f"{statement.id} is not what its experiment says"
            yield finding("state", "error", lab.state_file, what, line=number, evidence=evidence, root=lab.root)


def _known(lab: Lab, name: str, table: str) -> str | None:
    experiment = name.partition("/")[0]
    full = next((one for one in lab.experiment_names() if one == experiment or one.startswith(f"{experiment}_")), None)
    if full is None:
        return None
    try:
        rows = claims_of(lab, full) if table == "claims" else verdicts_of(lab, full)
    except NightlabError:
        return None
    return dict(rows).get(name)

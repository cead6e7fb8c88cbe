"""RESEARCH_STATE.md: the question, the hypotheses, what was found, what comes next.

People write this file; a night changes the box of a queue item, appends items, and writes between its own markers.
Limit: where a person saves the file in the same instant as a night, the later one wins as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightlab.errors import UsageError, nearest
from nightlab.files import write_atomic
from nightlab.record import markdown
from nightlab.record.strike import is_struck

Status = Literal["open", "partial", "done", "dropped"]

_BOXES: dict[str, Status] = {" ": "open", "~": "partial", "x": "done", "X": "done", "-": "dropped"}
_MARKS: dict[Status, str] = {"open": " ", "partial": "~", "done": "x", "dropped": "-"}
_ITEM = re.compile(r"(?P<before>\s*[-*+][ \t]+\[)(?P<box>[ ~xX-])(?P<after>\][ \t]+)(?P<text>.*?)[ \t]*\r?\n?")
_EXPERIMENT = re.compile(r"[`*_]*(exp_(\d+)\w*)[`*_]*[ \t]*[:·–—-]?[ \t]*")
_NUMBER = re.compile(r"exp_(\d+)")
_HYPOTHESIS = re.compile(r"[-*+][ \t]+[*_]*(H\d+\w*)[*_:.]*[ \t]+(.*)")
_FINDING = re.compile(r"- `([^`]+)` (.*)")


@dataclass(frozen=True)
class QueueItem:
    """One line of the queue; `experiment` is "" where the line names none."""

    experiment: str
    status: Status
    text: str


@dataclass(frozen=True)
class Statement:
    """A hypothesis or a finding: its id and its sentence."""

    id: str
    text: str


class ResearchState:
    """The research state at a path; every call reads the file as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def question(self) -> str:
        """The text of the section Question."""
        return "\n".join(row.rstrip("\r\n") for row in self._section("Question")).strip()

    def hypotheses(self) -> list[Statement]:
        """The bullets `- H1: …` of the section Hypotheses; indented lines continue the bullet above."""
        found: list[Statement] = []
        for row in self._section("Hypotheses"):
            bullet = _HYPOTHESIS.fullmatch(row.strip())
            if bullet and not row[0].isspace():
                found.append(Statement(bullet[1], bullet[2]))
            elif found and row.startswith((" ", "\t")) and row.strip():
                found.append(Statement((last := found.pop()).id, f"{last.text} {row.strip()}"))
        return found

    def findings(self) -> list[Statement]:
        """What nights have found: claim ids and sentences."""
        return self._statements("nightlab:findings")

    def verdicts(self) -> list[Statement]:
        """What nights have concluded about hypotheses."""
        return self._statements("nightlab:verdicts")

    def queue(self) -> list[QueueItem]:
        """The checkbox lines of the section Queue, in order."""
        return [item for _, item in self._items(markdown.read(self.path))]

    def set_queue_status(self, experiment: str, status: Status) -> bool:
        """Set the box of an experiment's line; False where the queue has no such line."""
        if status not in _MARKS:
            hint = f"did you mean {close}?" if (close := nearest(status, _MARKS)) else f"one of {', '.join(_MARKS)}"
            raise UsageError(f"no status {status!r} of a queue item", where=self.path, hint=hint)
        with markdown.alone(self.path):
            rows = markdown.read(self.path)
            for row, item in self._items(rows):
                if _same(item.experiment, experiment):
                    box = _ITEM.fullmatch(rows[row])
                    assert box is not None
                    rows[row] = rows[row][: box.start("box")] + _MARKS[status] + rows[row][box.end("box") :]
                    self._write(rows)
                    return True
        return False

    def add_queue(self, experiment: str, text: str) -> bool:
        """Append an open item; False where the queue has that experiment (or, without one, that text) already."""
        text = markdown.one_line(text, 500)
        if experiment and not re.fullmatch(r"exp_\d+\w*", experiment):
            raise UsageError(f"not the name of an experiment: {experiment!r}", hint="exp_NNN_slug, or leave it empty")
        line = f"- [ ] {experiment}: {text}" if experiment else f"- [ ] {text}"
        with markdown.alone(self.path):
            rows = markdown.read(self.path)
            items = self._items(rows)
            if any(_same(i.experiment, experiment) if experiment else i.text == text for _, i in items):
                return False
            place = markdown.section(rows, "Queue")
            if place is None:
                self._write(markdown.insert(rows, len(rows), ["## Queue", "", line]))
            elif items:
                self._write(_after_item(rows, items[-1][0], line))
            else:
                self._write(markdown.insert(rows, place[1], [line]))
        return True

    def set_findings(self, findings: Sequence[tuple[str, str]]) -> None:
        """Write findings by claim id: a known claim is replaced in its place, a new one appended, the others stay.

        A line that was struck through stays as it is; the claim's new sentence stands below.
        """
        self._upsert("Findings", "nightlab:findings", findings)

    def set_verdicts(self, verdicts: Sequence[tuple[str, str]]) -> None:
        """Write verdicts below the hypotheses, by id, as set_findings does."""
        self._upsert("Hypotheses", "nightlab:verdicts", verdicts)

    def _upsert(self, title: str, region: str, statements: Sequence[tuple[str, str]]) -> None:
        with markdown.alone(self.path):
            rows = markdown.read(self.path)
            found = markdown.marked(rows, region)
            lines = rows[found[0] + 1 : found[1]] if found else []
            for name, sentence in statements:
                line = f"- `{markdown.one_line(name, 100).replace('`', '')}` {markdown.one_line(sentence, 1000)}"
                start = line[: line.index("` ") + 2]
                known = next((n for n, old in enumerate(lines) if old.startswith(start) and not is_struck(old)), None)
                lines = [*lines, line] if known is None else [*lines[:known], line, *lines[known + 1 :]]
            self._write(markdown.put_region(rows, title, region, lines))

    def _write(self, rows: Sequence[str]) -> None:
        text = "".join(rows)
        if not self.path.exists():
            text = f"# Research state\n\n{text}"
        if not self.path.exists() or self.path.read_bytes() != text.encode("utf-8"):
            write_atomic(self.path, text)

    def _section(self, title: str) -> list[str]:
        rows = markdown.read(self.path)
        place = markdown.section(rows, title)
        return rows[place[0] + 1 : place[1]] if place else []

    def _statements(self, region: str) -> list[Statement]:
        rows = markdown.read(self.path)
        found = markdown.marked(rows, region)
        lines = [_FINDING.fullmatch(row.strip()) for row in rows[found[0] + 1 : found[1]]] if found else []
        return [Statement(line[1], line[2]) for line in lines if line]

    def _items(self, rows: Sequence[str]) -> list[tuple[int, QueueItem]]:
        place = markdown.section(rows, "Queue")
        if place is None:
            return []
        code = markdown.fenced(rows)
        found = [(n, _ITEM.fullmatch(rows[n])) for n in range(place[0] + 1, place[1]) if n not in code]
        return [(n, _item(match["box"], match["text"])) for n, match in found if match]


def _item(box: str, text: str) -> QueueItem:
    name = _EXPERIMENT.match(text)
    return QueueItem(name[1] if name else "", _BOXES[box], text[name.end() :] if name else text)


def _same(one: str, other: str) -> bool:
    """Whether two names (full, or `exp_NNN` alone) mean one experiment: numbers are unique in a lab."""
    first, second = _NUMBER.match(one), _NUMBER.match(other)
    return first is not None and second is not None and int(first[1]) == int(second[1])


def _after_item(rows: list[str], row: int, line: str) -> list[str]:
    """Put a line below an item and the indented lines that belong to it."""
    end = markdown.line_end(rows)
    row += 1
    while row < len(rows) and rows[row].strip() and rows[row][0].isspace() and not _ITEM.fullmatch(rows[row]):
        row += 1
    before = "" if rows[row - 1].endswith("\n") else end
    return [*rows[:row], f"{before}{line}{end}", *rows[row:]]

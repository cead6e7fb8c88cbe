"""The research diary: one entry per night, questions to people inside it, their replies below.

An entry's own text stands between `<!-- night: ID -->` and `<!-- /night: ID -->` (Next session in a pair of its
own) and may be rewritten while the night lasts. Questions are only added. Everything else is people's and is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nightlab.errors import UsageError, nearest
from nightlab.files import now, write_atomic
from nightlab.record import markdown, mentions
from nightlab.record.mentions import Mention

SECTIONS = ("Session summary", "What I did", "Findings", "Problems and fixes", "Next session")
_NEXT = "Next session"
_NIGHT = re.compile(r"<!-- night: ([\w.:-]+) -->")
_ENTRY = re.compile(r"## (\d{4}-\d\d-\d\d) · .*")
_OURS = re.compile(r"<!-- /?(?:night|next): [\w.:-]+ -->")
_NOTHING = "Nothing."


@dataclass(frozen=True)
class Entry:
    """One night's entry: its date, title and the sections that nightlab wrote."""

    night: str
    date: str
    title: str
    sections: dict[str, str]


class Diary:
    """The diary at a path; every call reads the file as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has_entry(self, night: str) -> bool:
        """Whether the night has an entry."""
        return any(self._night_at(row) == night for row in markdown.read(self.path))

    def entry(self, night: str) -> Entry | None:
        """The entry of a night as it stands, or None."""
        rows = markdown.read(self.path)
        place = markdown.marked(rows, f"night: {night}")
        if place is None:
            return None
        header = rows[place[0] - 1].strip() if place[0] and _ENTRY.fullmatch(rows[place[0] - 1].strip()) else ""
        date, _, title = header.removeprefix("## ").partition(" · ")
        after = markdown.marked(rows, f"next: {night}")
        texts = _sections(rows[place[0] + 1 : place[1]]) | (_sections(rows[after[0] + 1 : after[1]]) if after else {})
        return Entry(night, date, title, texts)

    def add_entry(self, night: str, title: str, sections: Mapping[str, str], *, date: str | None = None) -> None:
        """Write the night's entry, or rewrite its own text: sections that are not given stay as they are.

        `sections` maps titles of SECTIONS to Markdown, which is bounded and cannot contain headings. Raises UsageError.
        """
        _check(night, sections)
        with markdown.alone(self.path):
            self._put_entry(night, title, sections, date)

    def _put_entry(self, night: str, title: str, sections: Mapping[str, str], date: str | None) -> None:
        known = self.entry(night)
        texts = {**(known.sections if known else {}), **sections}
        day = known.date if known and known.date else date or now()[:10]
        own = [f"## {day} · {markdown.one_line(title, 120)}", f"<!-- night: {night} -->", ""]
        own += [line for name in SECTIONS[:-1] for line in _lines(name, texts)] + [f"<!-- /night: {night} -->"]
        coming = [f"<!-- next: {night} -->", "", *_lines(_NEXT, texts), f"<!-- /next: {night} -->"]
        rows = markdown.read(self.path) or ["# Research diary\n"]
        self._write(
            _rewrite(rows, night, own, coming) if known else markdown.insert(rows, len(rows), [*own, "", *coming])
        )

    def questions(self) -> list[Mention]:
        """All questions, in the order of the file."""
        return [mention for _, _, mention in self._questions(markdown.read(self.path))]

    def ask(self, night: str, question: Mention, *, date: str | None = None) -> Mention:
        """Add a question to the night's entry (begun here if need be) and give it an id of its own.

        Asked again in the same night with the same words about the same, the one that stands there comes back. Raises
        UsageError.
        """
        mentions.render(replace(question, id="q0"))
        _check(night, {})
        with markdown.alone(self.path):
            return self._put_question(night, question, date)

    def _put_question(self, night: str, question: Mention, date: str | None) -> Mention:
        for _, _, known in self._questions(markdown.read(self.path)):
            if known.night == night and known.asks_as(question):
                return known
        if self.entry(night) is None:
            self._put_entry(night, "A night at work", {}, date)
        rows = markdown.read(self.path)
        taken = [int(number) for row in rows for number in re.findall(r"^#+ @\S+ q(\d+)\b", row)]
        name = f"q{max(taken, default=0) + 1}"
        self._write(
            markdown.insert(rows, self._question_place(rows, night), mentions.render(replace(question, id=name)))
        )
        return next(mention for mention in self.questions() if mention.id == name)

    def add_reply(self, question: str, text: str, by: str, *, date: str | None = None) -> Mention:
        """Put a person's reply below a question; the same reply twice is one. Raises UsageError."""
        if not text.strip():
            raise UsageError("an empty reply", where=question)
        with markdown.alone(self.path):
            return self._put_reply(question, mentions.render_reply(text, by, date or now()[:10]))

    def _put_reply(self, question: str, lines: list[str]) -> Mention:
        rows = markdown.read(self.path)
        found = [(start, end, mention) for start, end, mention in self._questions(rows) if mention.id == question]
        if len(found) != 1:
            raise self._no_such(question, [start + 1 for start, _, _ in found])
        start, end, mention = found[0]
        [reply] = mentions.parse([rows[start], *(f"{line}\n" for line in lines)]).replies
        if any((old.by, old.text) == (reply.by, reply.text) for old in mention.replies):
            return mention
        self._write(markdown.insert(rows, end, lines))
        return next(m for m in self.questions() if m.id == question)

    def tail(self, limit: int = 6000) -> str:
        """The newest entries, whole ones where they fit in `limit` characters."""
        rows = markdown.read(self.path)
        starts = [h.row for h in markdown.headings(rows) if h.level == 2]
        text = ""
        for start in reversed(starts):
            if len(longer := "".join(rows[start:]).strip()) > limit:
                return text or f"[cut: the last {limit} of {len(longer)} characters]\n{longer[-limit:]}"
            text = longer
        return text

    def _questions(self, rows: Sequence[str]) -> list[tuple[int, int, Mention]]:
        """Every question with its rows [start, end)."""
        stops = [h.row for h in markdown.headings(rows)]
        starts = [row for row in stops if mentions.HEADING.fullmatch(rows[row])]
        stops += [n for n, row in enumerate(rows) if _OURS.fullmatch(row.strip())] + [len(rows)]
        found = []
        for start in starts:
            end = min(stop for stop in stops if stop > start)
            night, date = self._stands_in(rows, start)
            found.append((start, end, mentions.parse(rows[start:end], asked=date, night=night)))
        return found

    def _stands_in(self, rows: Sequence[str], row: int) -> tuple[str, str]:
        """The night and the date of the entry that a row belongs to; "" where it belongs to none."""
        night = ""
        for above in reversed(rows[:row]):
            night = night or self._night_at(above) or ""
            if above.startswith("## "):
                header = _ENTRY.fullmatch(above.strip())
                return night, header[1] if header else ""
        return "", ""

    def _question_place(self, rows: Sequence[str], night: str) -> int:
        """The row above which a night's next question goes: before Next session, else at the end of its entry."""
        coming = markdown.marked(rows, f"next: {night}")
        if coming:
            return coming[0]
        own = markdown.marked(rows, f"night: {night}")
        assert own is not None
        return next((h.row for h in markdown.headings(rows) if h.row > own[1] and h.level <= 2), len(rows))

    def _night_at(self, row: str) -> str | None:
        found = _NIGHT.fullmatch(row.strip())
        return found[1] if found else None

    def _no_such(self, question: str, lines: list[int]) -> UsageError:
        if lines:
            places = " and ".join(map(str, lines))
            return UsageError(f"{question} stands in lines {places}", where=self.path, hint="give one another number")
        names = [mention.id for mention in self.questions()]
        close = nearest(question, names)
        hint = f"did you mean {close}?" if close else f"questions: {', '.join(names) or 'none yet'}"
        return UsageError(f"no question {question}", where=self.path, hint=hint)

    def _write(self, rows: Sequence[str]) -> None:
        data = "".join(rows).encode("utf-8")
        if not self.path.exists() or self.path.read_bytes() != data:
            write_atomic(self.path, data)


def _check(night: str, sections: Mapping[str, str]) -> None:
    if not re.fullmatch(r"[\w.:-]+", night):
        raise UsageError(f"not the name of a night: {night!r}")
    for name in sections:
        if name not in SECTIONS:
            close = nearest(name, SECTIONS)
            hint = f"did you mean {close}?" if close else f"sections: {', '.join(SECTIONS)}"
            raise UsageError(f"the diary has no section {name!r}", hint=hint)


def _lines(name: str, texts: Mapping[str, str]) -> list[str]:
    return [f"### {name}", "", *markdown.block(texts.get(name, "").strip() or _NOTHING), ""]


def _sections(rows: Sequence[str]) -> dict[str, str]:
    """The texts below the headings of level 3."""
    heads = [h for h in markdown.headings(rows) if h.level == 3 and h.title in SECTIONS]
    ends = [h.row for h in heads[1:]] + [len(rows)]
    clean = [row.rstrip("\r\n") for row in rows]
    return {h.title: "\n".join(clean[h.row + 1 : end]).strip() for h, end in zip(heads, ends, strict=True)}


def _rewrite(rows: Sequence[str], night: str, own: Sequence[str], coming: Sequence[str]) -> list[str]:
    """The night's own text and its Next session in their places; the header only where it is still ours."""
    place = markdown.marked(rows, f"night: {night}")
    assert place is not None
    ours = place[0] > 0 and _ENTRY.fullmatch(rows[place[0] - 1].strip())
    new = markdown.replace(rows, place[0] - 1 if ours else place[0], place[1] + 1, own if ours else own[1:])
    after = markdown.marked(new, f"next: {night}")
    if after:
        return markdown.replace(new, after[0], after[1] + 1, coming)
    place = markdown.marked(new, f"night: {night}")
    assert place is not None
    end = next((h.row for h in markdown.headings(new) if h.row > place[1] and h.level <= 2), len(new))
    return markdown.insert(new, end, coming)

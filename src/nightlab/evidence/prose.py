"""A template taken apart: its prose with every tag blanked out, and the conditions under which it is shown.

Both keep the length and the lines of the template, so that a place in one is the same place in the other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import TemplateSyntaxError

from nightlab.evidence.sandbox import ReportError, environment

Branch = tuple[int, str]
"""A branch of a template (of an `if` or a loop): its number, which no two share, and its condition if it has one."""

_COMMENT = re.compile(r"(?s)<!--.*?(?:-->|\Z)")
_EMPTY = re.compile(r"\n[ \t]*(?=\n)")
_STOP = re.compile(r"(?<=[.!?])[ \t]+")
_OPENS = re.compile(r"\s*(?:[-*+>|#]|\d+[.)]\s|\{[%#])")  # what begins anew: items, quotes, rows, headings, block tags
_ALONE = re.compile(r"\s*(?:[#|]|\{[%#])")  # lines that nothing goes on from


@dataclass(frozen=True)
class Sentence:
    """A sentence of the prose: its line, its paragraph's number, its words, the same piece of the template without its
    comments, and the branches in which each of its characters is shown.
    """

    line: int
    paragraph: int
    prose: str
    source: str
    checks: Sequence[tuple[Branch, ...]]

    def line_of(self, position: int) -> int:
        """The line of one of its characters."""
        return self.line + self.prose.lstrip().count("\n", 0, position - len(self.prose) + len(self.prose.lstrip()))


@dataclass
class _Parts:
    prose: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    checks: list[tuple[Branch, ...]] = field(default_factory=list)
    open: list[Branch] = field(default_factory=list)

    def add(self, text: str, shown: bool, comment: bool = False) -> None:
        self.prose.append(text if shown else blank(text))
        self.source.append(blank(text) if comment else text)
        self.checks += [tuple(self.open)] * len(text)

    def branch(self, condition: str) -> Branch:
        """A new branch that begins here."""
        return len(self.checks), condition


def blank(text: str) -> str:
    """Spaces in the place of a text; line ends stay."""
    return re.sub(r"[^\n]", " ", text)


def prose_of(text: str, where: Path | str) -> str:
    """The prose alone. Raises ReportError for a malformed template."""
    return "".join(_take_apart(text, where).prose)


def sentences(text: str, where: Path | str) -> Iterator[Sentence]:
    """The sentences of a template's prose; one goes on over the end of a line, not over an empty one.

    Raises ReportError for a malformed template.
    """
    parts = _take_apart(text, where)
    prose, start = "".join(parts.prose), 0
    source = _COMMENT.sub(lambda comment: blank(comment[0]), "".join(parts.source))
    for end in [*_ends(text, prose), len(prose)]:
        piece = prose[start:end]
        if piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            paragraph = len(_EMPTY.findall(text, 0, begin))
            line = prose.count("\n", 0, begin) + 1
            yield Sentence(line, paragraph, piece, source[start:end], parts.checks[start:end])
        start = end


def _ends(text: str, prose: str) -> list[int]:
    """Where sentences end: after a full stop, and at the ends of lines that the next one does not go on from."""
    found = {stop.end() for stop in _STOP.finditer(prose)}
    lines = text.split("\n")
    at = 0
    for line, following in itertools.pairwise(lines):
        at += len(line) + 1
        stops = line.rstrip().endswith((".", "!", "?"))
        if stops or not line.strip() or not following.strip() or _ALONE.match(line) or _OPENS.match(following):
            found.add(at)
    return sorted(found)


def _take_apart(text: str, where: Path | str) -> _Parts:
    plain = environment().overlay(trim_blocks=False, lstrip_blocks=False)
    parts, inside, raw, tag = _Parts(), 0, False, ""
    try:
        for _, kind, value in plain.lex(text):
            if kind in ("variable_begin", "block_begin", "comment_begin", "raw_begin"):
                inside, raw, tag = (0, True, "") if kind == "raw_begin" else (inside + 1, raw, "")
                parts.add(value, shown=False)
            elif kind in ("variable_end", "block_end", "comment_end", "raw_end"):
                inside = max(0, inside - 1)
                parts.add(value, shown=False)
                _enter_or_leave(parts, tag if kind == "block_end" else "")
            else:
                tag += value if inside else ""
                parts.add(value, shown=kind == "data" and not inside, comment=kind == "comment")
    except TemplateSyntaxError as problem:
        raise ReportError(f"malformed template: {problem.message}", where=f"{where}:{problem.lineno}") from None
    return parts


def _enter_or_leave(parts: _Parts, tag: str) -> None:
    word, _, rest = tag.strip().partition(" ")
    if word in ("if", "for"):
        parts.open.append(parts.branch(rest.strip() if word == "if" else ""))
    elif word in ("elif", "else") and parts.open:
        parts.open[-1] = parts.branch(rest.strip())  # what stands under `else` is shown when nothing was checked
    elif word in ("endif", "endfor") and parts.open:
        parts.open.pop()

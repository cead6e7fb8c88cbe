"""Markdown as an audit reads it: its lines outside of code, with the headings and the table's header above them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FAMILIES = ("llama", "gemma", "qwen", "mistral", "phi", "gpt", "claude", "deepseek", "olmo", "falcon")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"^\s*(?:[-*+]\s+|\d+[.)]\s+)")
STRUCK = re.compile(r"~~.*?~~")


@dataclass(frozen=True)
class Line:
    """A line of prose, or a row of a table: its number, text, the headings above it, its table's header."""

    number: int
    text: str
    headings: tuple[str, ...]
    header: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of a table's row; none outside of tables."""
        return tuple(cell.strip() for cell in self.text.strip().strip("|").split("|")) if self.header else ()

    @property
    def heading(self) -> str:
        """The nearest heading."""
        return self.headings[-1] if self.headings else ""


def lines(text: Sequence[str]) -> Iterator[Line]:
    """The lines that say something: no code blocks, no struck out words, no numbering of lists and headings."""
    headings: list[tuple[int, str]] = []
    header: tuple[str, ...] = ()
    fence = ""
    for number, raw in enumerate(text, 1):
        mark = re.match(r"\s*(```+|~~~+)", raw)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            continue
        if fence:
            continue
        line = STRUCK.sub("", raw)
        if found := _HEADING.match(line):
            headings = [(level, title) for level, title in headings if level < len(found[1])]
            headings.append((len(found[1]), found[2]))
            line = found[2]
        is_row = line.lstrip().startswith("|")
        if is_row and not header:
            header = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            continue
        header = header if is_row else ()
        if line.strip() and not re.fullmatch(r"[\s|:-]+", line):
            yield Line(number, _ITEM.sub("", line), tuple(title for _, title in headings), header)


def mentions(text: str, level: str) -> bool:
    """Whether a text speaks of a level: by its name, or as `0-20` of `layers_0_20`, or as `Llama 3.1` of `llama`."""
    if not level:
        return False
    plain, name = text.casefold(), level.casefold()
    if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w])", plain):
        return True
    digits = re.fullmatch(r"[a-z]+_(\d+)_(\d+)", name)
    if digits and re.search(rf"(?<!\d)(?<!\d[.-]){digits[1]}\s?[-–_]\s?{digits[2]}(?!\d)", plain):
        return True
    tail = name.rsplit("_", 1)[-1].rsplit("/", 1)[-1]
    words = {tail, re.split(r"[-_/. \d]", name)[0]} if not digits else set()
    return any(len(word) > 3 and re.search(rf"(?<![\w]){re.escape(word)}(?![a-z])", plain) for word in words)


def named(text: str, dimension: str) -> bool:
    """Whether a text, such as a table's header, speaks of a measure, also by its beginning (`Exagg`)."""
    word = dimension.rsplit(".", 1)[-1].casefold().removesuffix("_intensity")
    if mentions(text, word):
        return True
    short = text.strip().casefold()
    return len(short) >= 3 and " " not in short and (word.startswith(short) or short.startswith(word))

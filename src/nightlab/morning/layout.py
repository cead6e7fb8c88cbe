"""Sections of short items fitted into lines and columns; what is left out is counted, with where to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightlab.morning.text import clean, columns_of, wrap

LINES = 25
WIDEST = 60


@dataclass(frozen=True)
class Item:
    """One thing to know: its id, a sentence, and more of them that are shown with it; each on at most `lines` lines."""

    id: str
    text: str
    more: tuple[str, ...] = ()
    lines: int = 2


@dataclass(frozen=True)
class Section:
    """A heading and its items; `where` shows all of them, `empty` is said when there are none, `note` stands beside it.

    A section of one item that fits stands on the heading's line.
    """

    title: str
    items: tuple[Item, ...]
    where: str
    empty: str
    note: str = ""


def laid_out(head: Sequence[str], sections: Sequence[Section], columns: int) -> str:
    """The head and every section on at most 25 lines, none wider than the columns or 60."""
    width = min(columns, WIDEST)
    top = [line for text in head for line in wrap(text, width)]
    parts = [_part(section, width) for section in sections]
    shown = _share(LINES - len(top) - sum(len(heading) for heading, _ in parts), [block for _, block in parts])
    lines = list(top)
    for section, (heading, block), count in zip(sections, parts, shown, strict=True):
        lines += [*heading, *(line for item in block[:count] for line in item)]
        if count < len(block):
            lines.append(clean(f"  {len(block) - count} more: {section.where}", width))
    return "\n".join(lines)


def _part(section: Section, width: int) -> tuple[list[str], list[list[str]]]:
    """A section's heading and the lines of each item; one short line stands beside its heading."""
    heading, block = _heading(section, section.items, width), [_lines(item, width) for item in section.items]
    if len(heading) == len(block) == len(block[0] if block else []) == 1 and not section.note:
        line = f"{heading[0]}: {block[0][0].strip()}"
        if columns_of(line) <= width:
            return [line], []
    return heading, block


def _heading(section: Section, items: Sequence[object], width: int) -> list[str]:
    """The heading, with its note beside it or, where that is too wide, below it."""
    if not items:
        return wrap(f"{section.title}: {section.empty}", width, rest="  ")
    heading = f"{section.title} ({len(items)})" if len(items) > 1 else section.title
    beside = f"{heading} · {section.note}"
    if not section.note or columns_of(beside) <= width:
        return [beside if section.note else heading]
    return [heading, *wrap(section.note, width, first="  ", rest="  ")]


def _lines(item: Item, width: int) -> list[str]:
    """An item on its lines; a paragraph that is too long is cut and ends in `...`."""
    indent = "  " + " " * (len(item.id) + 1 if item.id else 2)
    first = f"  {item.id} " if item.id else "  "
    lines = _cut(wrap(clean(item.text, 600), width, first=first, rest=indent), item.lines, width)
    for paragraph in item.more:
        lines += _cut(wrap(clean(paragraph, 600), width, first=indent, rest=indent), item.lines, width)
    return lines


def _cut(lines: list[str], most: int, width: int) -> list[str]:
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    indent = last[: len(last) - len(last.lstrip())]
    return [*lines[: most - 1], indent + clean(f"{last.strip()} {lines[most].strip()}", width - len(indent))]


def _share(room: int, blocks: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    """How many items of each section fit: one more of each in turn, while all of it stays within the room."""
    shown = [0] * len(blocks)
    grown = True
    while grown:
        grown = False
        for index, block in enumerate(blocks):
            if shown[index] == len(block):
                continue
            shown[index] += 1
            if _used(shown, blocks) <= room:
                grown = True
            else:
                shown[index] -= 1
    return shown


def _used(shown: Sequence[int], blocks: Sequence[Sequence[Sequence[str]]]) -> int:
    """Lines that so many items of each section take, with a line for what is left out."""
    return sum(
        sum(len(item) for item in block[:count]) + (count < len(block))
        for count, block in zip(shown, blocks, strict=True)
    )

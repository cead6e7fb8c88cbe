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
    """A heading and its items; `where` shows all of them, `empty` is said when there are none.

    A section of one item that fits stands on the heading's line.
    """

    title: str
    items: tuple[Item, ...]
    where: str
    empty: str


def laid_out(head: Sequence[str], sections: Sequence[Section], columns: int) -> str:
    """The head and every section on at most 25 lines, none wider than the columns or 60."""
    width = min(columns, WIDEST)
    top = [line for text in head for line in wrap(text, width)]
    blocks = [[_lines(item, width) for item in section.items] for section in sections]
    shown = _share(LINES - len(top) - len(sections), blocks)
    lines = list(top)
    for section, block, count in zip(sections, blocks, shown, strict=True):
        lines += _headed(section, [line for item in block[:count] for line in item], width)
        if count < len(block):
            lines.append(clean(f"  {len(block) - count} more: {section.where}", width))
    return "\n".join(lines)


def _headed(section: Section, lines: list[str], width: int) -> list[str]:
    """A section's lines under its heading."""
    if not section.items:
        return [clean(f"{section.title}: {section.empty}", width)]
    if len(section.items) == len(lines) == 1 and len(section.title) + 1 + columns_of(lines[0]) <= width:
        return [f"{section.title}: {lines[0].strip()}"]
    return [f"{section.title} ({len(section.items)})" if len(section.items) > 1 else section.title, *lines]


def _lines(item: Item, width: int) -> list[str]:
    """An item on its lines; a paragraph that is too long is cut and ends in `...`."""
    indent = "  " + " " * (len(item.id) + 1 if item.id else 0)
    first = f"  {item.id} " if item.id else "  "
    room = item.lines * (width - len(indent)) - (width // 6 if item.lines > 1 else 0)
    lines = wrap(clean(item.text, room), width, first=first, rest=indent)
    for paragraph in item.more:
        lines += wrap(clean(paragraph, room), width, first=indent, rest=indent)
    return lines


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

"""Sections of short items fitted into lines and columns; what is left out is counted, with where to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightlab.morning.text import clean, wrap

LINES = 25
WIDEST = 60
LONGEST = 2  # lines of one paragraph of an item


@dataclass(frozen=True)
class Item:
    """One thing to know: its id, a sentence, and further paragraphs that are shown with it."""

    id: str
    text: str
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading and its items; `where` is the command that shows all of them; `empty` is said when there are none."""

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
        lines.append(_heading(section, width))
        lines += [line for item in block[:count] for line in item]
        if count < len(block):
            lines.append(clean(f"  {len(block) - count} more: {section.where}", width))
    return "\n".join(lines)


def _heading(section: Section, width: int) -> str:
    return clean(
        f"{section.title} ({len(section.items)})" if section.items else f"{section.title}: {section.empty}", width
    )


def _lines(item: Item, width: int) -> list[str]:
    """An item on its lines; a paragraph that is too long is cut and ends in `...`."""
    indent = "  " + " " * (len(item.id) + 1 if item.id else 0)
    first = f"  {item.id} " if item.id else "  "
    room = LONGEST * (width - len(indent)) - width // 4
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

"""Markdown that is safe to show: text from models, plans and logs is data, so it is bounded and loses all markup."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

LIMIT = 600
"""The most characters of foreign text that a report shows."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~=>^$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", ":": "&#58;", '"': "&quot;"}


class Markdown(str):
    """Text that is Markdown by our own making: it goes into a report as it is; every other text is escaped."""

    __slots__ = ()


def escape(text: object, limit: int = LIMIT) -> Markdown:
    """Foreign text as one line of inert Markdown: cut at `limit`, without HTML, links, mentions or control codes."""
    line = " ".join(str(text).split())
    shown = "".join(letter for letter in line if unicodedata.category(letter)[0] != "C")
    cut = shown if len(shown) <= limit else shown[:limit].rstrip() + " …"
    return Markdown("".join(_ENTITIES.get(part) or _MARKUP.sub(r"\\\1", part) for part in cut))


def code(name: object) -> Markdown:
    """A name of ours (an id, a level, a path) as a code span."""
    shown = re.sub(r"[`|<>\r\n]", " ", str(name))
    return Markdown(f"`{shown}`")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    """A Markdown table; cells that are not Markdown are escaped."""
    body = [[cell if isinstance(cell, Markdown) else escape(cell) for cell in row] for row in rows]
    if not body:
        return Markdown("none")
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in body]
    return Markdown("\n".join(lines))


def bullets(items: Iterable[object], empty: str = "none") -> Markdown:
    """A list with one line per item; items that are not Markdown are escaped."""
    lines = [f"- {item if isinstance(item, Markdown) else escape(item)}" for item in items]
    return Markdown("\n".join(lines) if lines else empty)


def bold(text: str) -> Markdown:
    """Markdown in bold."""
    return Markdown(f"**{text}**")

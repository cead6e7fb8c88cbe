"""Markdown that is safe to show: text from models, plans and logs is data, so it is bounded and loses all markup."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

LIMIT = 600
"""The most characters of foreign text that a report shows."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "#": "&#35;"}
_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_]))")
_LINKS = re.compile(r"(?i)(://|www\.|mailto:)")
_INTERVAL = re.compile(r"\\\[(-?\d[\d., -]*)\\\](?!\s*[(:\\\[])")
_BLOCK = re.compile(r"^(?=[-+](?:\s|$)|[-=]+$|\d+[.)](?:\s|$))(\d*)")


class Markdown(str):
    """Text that is Markdown by our own making: it goes into a report as it is; every other text is escaped."""

    __slots__ = ()


def escape(text: object, limit: int = LIMIT) -> Markdown:
    """Foreign text as one line of inert Markdown: cut at `limit`, without HTML, links, mentions or control codes."""
    line = " ".join(str(text).split())
    seen = "".join(letter for letter in line if unicodedata.category(letter)[0] != "C")
    cut = seen if len(seen) <= limit else seen[:limit].rstrip() + " …"
    plain = _MARKUP.sub(r"\\\1", cut)
    inert = _LINKS.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), _entities(plain))
    return Markdown(_BLOCK.sub(r"\1\\", _INTERVAL.sub(r"[\1]", inert)))


def _entities(text: str) -> str:
    return "".join(_ENTITIES.get(letter, letter) for letter in text)


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

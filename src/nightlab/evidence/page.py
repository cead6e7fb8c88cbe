"""report.md as one HTML file: figures inside, no script, nothing fetched, everything that models wrote escaped.

The page says the same as report.md, which it is made from. Its policy forbids scripts and every request. Links to files
of the experiment are files inside the page, too; other links do not occur in reports.
"""

from __future__ import annotations

import base64
import html
import itertools
import mimetypes
import re
from importlib import resources
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError
from nightlab.files import read_text, write_atomic

PAGE = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_WORDS = ("supported", "contradicted", "undecided")


def write_page(folder: Path) -> Path:
    """Write report.html beside report.md. Raises UsageError where no report was compiled."""
    report = folder / "report.md"
    if not report.is_file():
        raise UsageError("no report to make a page of", where=folder, hint=f"`nightlab report {folder.name}` makes one")
    path = folder / PAGE
    write_atomic(path, page(read_text(report, UsageError), folder))
    return path


def page(text: str, folder: Path) -> str:
    """The page of a report's Markdown; figures and files are taken from `folder`."""
    body, headings = _body(text, folder)
    title = html.escape(_title(text, folder))
    entries = "".join(f'<li><a href="#{name}">{html.escape(said)}</a></li>' for name, said in headings)
    style = (resources.files("nightlab.evidence") / "templates" / "page.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<nav aria-label="Contents"><ol>{entries}</ol></nav>\n<main>\n{body}</main>\n</body>\n</html>\n'
    )


def _title(text: str, folder: Path) -> str:
    found = re.search(r"^#\s+(.+)$", text, re.M)
    return html.unescape(re.sub(r"[\\`*]", "", found[1])) if found else folder.name


def _body(text: str, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = reader.parse(text)
    headings: list[tuple[str, str]] = []
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open" and before.tag == "h2":
            name = f"s{len(headings) + 1}"
            before.attrSet("id", name)
            headings.append((name, _plain(token)))
        for inner in token.children or []:
            _inline(inner, folder)
    shown = reader.renderer.render(tokens, reader.options, {})
    return _dressed(shown), headings


def _plain(token: Any) -> str:
    return "".join(inner.content for inner in token.children or [] if inner.type in ("text", "code_inline"))


def _inline(token: Any, folder: Path) -> None:
    """Put the file that an image or a link names into it; what is no file of the experiment loses its link."""
    if token.type == "image":
        token.attrSet("src", _inside(str(token.attrGet("src")), folder) or "data:,")
        token.attrSet("alt", token.content)
    elif token.type == "link_open":
        target = str(token.attrGet("href"))
        inside = _inside(target, folder)
        token.attrSet("href", inside or "#")
        if inside:
            token.attrSet("download", Path(target).name)


def _inside(target: str, folder: Path) -> str | None:
    """A file of the experiment as a data URI; None for everything else."""
    path = (folder / target).resolve()
    if ":" in target or not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _dressed(body: str) -> str:
    """Tables that scroll by themselves, figures with their captions, verdicts with their colours."""
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    body = re.sub(
        r"<p>(<img [^>]*>)</p>\n<p>(.*?)</p>", r"<figure>\1<figcaption>\2</figcaption></figure>", body, flags=re.S
    )
    for word in _WORDS:
        body = body.replace(f"<strong>{word}</strong>", f'<strong class="{word}">{word}</strong>')
    return body

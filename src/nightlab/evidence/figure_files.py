"""A figure on the disk: png, pdf, and the csv of every number drawn, whose hash stands inside of both pictures.

The same rows give the same bytes: no time stamps, no names of programs. A picture that was drawn from other numbers
than those beside it is told by the hash that it carries. Limit: a picture that another program wrote anew carries none.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.evidence.summary import write_csv
from nightlab.files import sha256_file, write_atomic

MARK = "csv sha256 "
"""What stands before the hash in a picture."""

_STYLE = {"font.size": 8.0, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150}
_PNG = b"\x89PNG\r\n\x1a\n"
Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its name, the template of its title and the finding that it gives, its files relative to the
    experiment, the hash of its csv.
    """

    name: str
    says: str
    title: str
    png: str
    pdf: str
    csv: str
    sha256: str


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw inside of this with nightlab's own style, whatever the user's settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def save(folder: Path, name: str, says: str, title: str, rows: Rows, canvas: Any | None = None) -> Figure:
    """Write a figure below figs/: the csv with its header and rows and, with a canvas, both pictures."""
    path = write_csv(folder / "figs" / f"{name}.csv", [str(name) for name in rows[0]], rows[1:])
    files = [f"figs/{name}.{kind}" for kind in ("png", "pdf", "csv")]
    figure = Figure(name, says, title, files[0], files[1], files[2], sha256_file(path))
    if canvas is None:
        return figure
    width = canvas.get_size_inches()[0]
    lines = textwrap.wrap(title, int(width * 16))
    canvas.suptitle("\n".join(lines), x=0.02, y=0.985, ha="left", va="top", fontsize=9.5)
    source = f"{MARK}{figure.sha256}"
    plain_pdf = {"Creator": None, "Producer": None, "CreationDate": None, "Keywords": source}
    for kind, metadata in (("png", {"Software": None, "Source": source}), ("pdf", plain_pdf)):
        data = io.BytesIO()
        canvas.savefig(data, format=kind, metadata=metadata)
        write_atomic(folder / "figs" / f"{name}.{kind}", data.getvalue())
    return figure


def drawn_from(path: Path) -> str:
    """The hash of the csv that a png or pdf was drawn from; "" where it carries none."""
    data = path.read_bytes()
    text = _png_texts(data) if data.startswith(_PNG) else data
    found = re.search(MARK.encode() + rb"([0-9a-f]{64})", text)
    return found[1].decode() if found else ""


def is_whole(path: Path) -> bool:
    """Whether every part of a png has its checksum: a picture that was edited byte by byte has not."""
    data = path.read_bytes()
    chunks = list(_chunks(data)) if data.startswith(_PNG) else []
    return (
        bool(chunks) and chunks[-1][0] == b"IEND" and all(zlib.crc32(kind + body) == crc for kind, body, crc in chunks)
    )


def _png_texts(data: bytes) -> bytes:
    return b"\n".join(body for kind, body, _ in _chunks(data) if kind == b"tEXt")


def _chunks(data: bytes) -> list[tuple[bytes, bytes, int]]:
    found, at = [], len(_PNG)
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + size
        if end + 4 > len(data):
            break
        found.append((kind, data[at + 8 : end], int(struct.unpack(">I", data[end : end + 4])[0])))
        at = end + 4
    return found

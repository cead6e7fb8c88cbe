"""Everything that an experiment's rows give, made again elsewhere and held against what stands in its folder.

One check for a whole family of lies: a digit that was changed in a report, a claim made stronger, a number typed into
a table, rows dropped or swapped after the report, a figure that shows older rows.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightlab import __version__
from nightlab.audit.finding import Finding, finding, of_error
from nightlab.errors import NightlabError
from nightlab.evidence.figure_files import drawn_from, is_whole
from nightlab.evidence.record import Record, made
from nightlab.evidence.reproduce import rebuild_into
from nightlab.files import sha256_file

TEXTS = (".md", ".csv", ".yaml", ".py")


def made_again(folder: Path, root: Path, record: Record | None, *, pictures: bool) -> Iterator[Finding]:
    """Findings about every generated file that is not what the rows give; pictures are drawn again where asked."""
    if record is not None and record.nightlab != __version__:
        what = f"made by nightlab {record.nightlab}, this is {__version__}: compared with the record, not made again"
        yield finding("made-again", "note", folder, what, root=root)
        return
    draws = pictures and record is not None and record.draws_alike
    with tempfile.TemporaryDirectory() as place:
        into = Path(place)
        try:
            names = rebuild_into(folder, into, pictures=draws)
        except NightlabError as problem:
            yield of_error("made-again", problem, folder, root)
            return
        yield from _compared(folder, into, names, root)
    there = {str(path.relative_to(folder)) for path in made(folder)}
    for name in sorted(
        there - {*names, "reproduce.py"} - {n for n in there if not draws and n.endswith((".png", ".pdf"))}
    ):
        yield finding("made-again", "error", folder / name, "no row gives this file", root=root)
    yield from _pictures(folder, root)
    if pictures and not draws:
        why = "no record.json names the versions" if record is None else "another version of a package drew them"
        yield finding(
            "made-again", "note", folder, f"figures were checked by their hashes, not drawn again: {why}", root=root
        )


def _compared(folder: Path, into: Path, names: list[str], root: Path) -> Iterator[Finding]:
    for name in names:
        here, again = folder / name, into / name
        if not here.is_file():
            yield finding("made-again", "error", here, "the rows give this file, and it is not there", root=root)
        elif here.read_bytes() != again.read_bytes():
            yield from _difference(here, again, root)


def _difference(here: Path, again: Path, root: Path) -> Iterator[Finding]:
    if here.suffix not in TEXTS:
        yield finding("made-again", "error", here, "this picture is not what the rows give", root=root)
        return
    ours, given = (path.read_text("utf-8", "replace").splitlines() for path in (here, again))
    blocks = [op for op in difflib.SequenceMatcher(None, ours, given, False).get_opcodes() if op[0] != "equal"]
    for _, start, end, from_, to in blocks[:5]:
        says, gives = " ".join(ours[start:end]) or "nothing", " ".join(given[from_:to]) or "nothing"
        evidence = f"it says: {says[:140]} | the rows give: {gives[:140]}"
        yield finding(
            "made-again", "error", here, "this is not what the rows give", line=start + 1, evidence=evidence, root=root
        )
    if not blocks:
        yield finding("made-again", "error", here, "other line ends or bytes than the rows give", root=root)


def _pictures(folder: Path, root: Path) -> Iterator[Finding]:
    """Each picture carries the hash of the csv that it was drawn from."""
    for path in sorted((folder / "figs").glob("*.p*")):
        csv = path.with_suffix(".csv")
        if path.suffix == ".png" and not is_whole(path):
            yield finding("figure", "error", path, "this picture was changed after it was drawn", root=root)
        elif path.suffix in (".png", ".pdf") and csv.is_file() and drawn_from(path) != sha256_file(csv):
            what = "a stale figure: it was not drawn from the csv beside it"
            yield finding(
                "figure",
                "error",
                path,
                what,
                evidence=f"drawn from {drawn_from(path)[:16] or 'nothing known'}",
                root=root,
            )

"""What a command may write: the agent's globs as existing paths, less everything that only code writes.

Git's folder, the records of experiments, frozen plans and the folders of nights and servers stay read-only wherever a
glob would reach them; so does every `.git` below. Limits: a path must exist to be writable; a record that does not
exist yet cannot be guarded by a mount, so what appears is looked for afterwards (`marks`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightlab.secrets import SECRET_FILE

RECORDS = (
    "samples.jsonl",
    "failures.jsonl",
    "judgments.jsonl",
    "judge_log.jsonl",
    "marks.jsonl",
    "withdrawn.jsonl",
    "looks.jsonl",
    "plan.lock.json",
)
LOCK, PLAN = "plan.lock.json", "config.yaml"
GUARDED = (".git", ".nightlab", "state/nights", "state/servers")
MarkCode = Literal["record", "git", "link_out"]


@dataclass(frozen=True)
class Scope:
    """Where a command works: a lab's root, what of it may be written, and what must not be."""

    root: Path
    writable: tuple[Path, ...]
    guarded: tuple[Path, ...]
    hidden: tuple[Path, ...]

    @classmethod
    def of(cls, root: Path, wanted: Iterable[Path], may_write: Callable[[Path], bool] | None = None) -> Scope:
        """The scope of these paths; those outside the root, missing, links or inside a guarded folder are left out.

        What lies below them and `may_write` denies is guarded too; a folder is, where it denies any file in it.
        """
        root = root.resolve()
        fixed = tuple(root / name for name in GUARDED)
        writable = _outermost([p for p in wanted if _is_ours(p, root) and not _inside(p, fixed)])
        found = [p for top in writable for p in _guarded_below(top, may_write)]
        guarded = _outermost(p for p in (*fixed, *found) if os.path.lexists(p) and _inside(p, writable))
        hidden = {p for p in (*root.iterdir(), *_walked(writable)) if SECRET_FILE.fullmatch(p.name) and p.is_file()}
        open_files = tuple(p for p in writable if p not in guarded and p not in hidden)
        return cls(root, open_files, tuple(guarded), tuple(sorted(hidden)))

    def above(self, path: Path) -> Iterator[Path]:
        """The folders strictly between a writable folder and a path below it, from the top."""
        tops = [top for top in self.writable if path.is_relative_to(top) and path != top]
        for top in tops:
            between = [p for p in path.parents if p.is_relative_to(top) and p != top]
            yield from reversed(between)

    def open_parts(self) -> list[Path]:
        """The writable paths cut into pieces that hold nothing guarded or hidden, for rules that can only allow."""
        closed = (*self.guarded, *self.hidden)
        return [piece for top in self.writable for piece in _pieces(top, closed)]

    def readable_parts(self) -> list[Path]:
        """The lab cut into pieces without what is hidden; the folders above a piece can only be listed."""
        return [*_pieces(self.root, self.hidden)]

    def marks(self) -> dict[Path, MarkCode]:
        """Everything in the writable folders that only code makes, or that leads out of the lab."""
        found: dict[Path, MarkCode] = {}
        for path in _walked(self.writable):
            if path.name == ".git":
                found[path] = "git"
            elif path.name in RECORDS:
                found[path] = "record"
            elif path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(self.root):  # a loop too
                found[path] = "link_out"
        return found


def expand(root: Path, globs: Iterable[str]) -> list[Path]:
    """The existing paths that write globs name: `a/**` is the folder a, any other glob the files that it fits."""
    found: set[Path] = set()
    for pattern in globs:
        if pattern == "**":
            found.add(root)
        elif pattern.endswith("/**"):
            found.update(p for p in root.glob(pattern.removesuffix("/**")) if p.is_dir())
        else:
            found.update(p for p in root.glob(pattern) if p.is_file())
    return sorted(p for p in found if not p.is_symlink())


def _is_ours(path: Path, root: Path) -> bool:
    """A path of the root that is there and is what it is called: no link stands on the way to it."""
    return path.exists() and path.resolve() == path and path.is_relative_to(root)


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    known = set(paths)
    return sorted(path for path in known if known.isdisjoint(path.parents))


def _walked(tops: Iterable[Path]) -> Iterator[Path]:
    """Everything below the folders, without following links and without what is inside a .git."""
    for top in tops:
        for place, folders, names in os.walk(top):
            yield from (Path(place, name) for name in (*folders, *names))
            folders[:] = [name for name in folders if name not in (".git", ".venv")]


def _guarded_below(top: Path, may_write: Callable[[Path], bool] | None) -> Iterator[Path]:
    """What is guarded at or below a writable path; nothing below a folder that is guarded as a whole."""

    def is_guarded(path: Path, probed: Path) -> bool:
        frozen = path.name == PLAN and (path.parent / LOCK).exists()
        if path.name == ".git" or path.name in RECORDS or frozen:
            return True
        # A link is no way to write: what it leads to is read-only itself. A mount cannot stand on one either.
        return may_write is not None and not path.is_symlink() and not may_write(probed)

    if is_guarded(top, top / "any name" if top.is_dir() else top):
        yield top
        return
    for place, folders, names in os.walk(top):
        here = Path(place)
        closed = {name for name in folders if is_guarded(here / name, here / name / "any name")}
        yield from (here / name for name in sorted(closed))
        yield from (here / name for name in names if is_guarded(here / name, here / name))
        folders[:] = [name for name in folders if name not in closed]


def _pieces(path: Path, closed: tuple[Path, ...]) -> Iterator[Path]:
    if path.is_symlink() or path in closed:
        return
    if not any(p.is_relative_to(path) for p in closed):
        yield path
        return
    for child in sorted(path.iterdir()):
        yield from _pieces(child, closed)

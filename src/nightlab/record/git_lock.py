"""Git's lock files: a live one is waited for, one that a crash left behind is removed.

Git writes no owner into a lock. A lock counts as live while a git process works in the repository (seen through /proc)
or while it is younger than the stale age. Limit: a git on another machine that shares the folder is seen by age alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from nightlab.errors import LockHeld

_READERS = {b"cat-file", b"fsmonitor--daemon", b"log", b"show", b"diff", b"rev-list", b"blame"}


def clear(
    locks: Iterable[Path], worktree: Path, *, stale_after: float, wait: float, say: Callable[[str], None]
) -> None:
    """Return once none of the lock files is there. Raises LockHeld after `wait` seconds, naming the process."""
    for lock in locks:
        _clear(lock, worktree, stale_after, time.monotonic() + wait, say)


def _clear(lock: Path, worktree: Path, stale_after: float, deadline: float, say: Callable[[str], None]) -> None:
    while (age := _age(lock)) is not None:
        holder = git_at_work(worktree, lock)
        if holder is None and age >= stale_after:
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
                say(f"removed {lock.name}, which a crash left in {lock.parent} {age:.0f} s ago")
            return
        if time.monotonic() > deadline:
            who = (
                f"process {holder} holds it"
                if holder
                else f"it is {age:.0f} s old and no process of this machine is seen"
            )
            hint = f"let that git command end; if there is none: rm {lock}"
            raise LockHeld(f"the git repository is locked: {who}", where=lock, hint=hint)
        time.sleep(0.05)


def _age(lock: Path) -> float | None:
    """Seconds since the lock was made, or None when it is gone."""
    try:
        return max(0.0, time.time() - lock.stat().st_mtime)
    except FileNotFoundError:
        return None


def git_at_work(worktree: Path, lock: Path) -> int | None:
    """The id of a git process that may be writing in this work tree, or None."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not (folder / "comm").read_text().startswith("git"):
                continue
            command = (folder / "cmdline").read_bytes().split(b"\0")
            here = (folder / "cwd").resolve(strict=True).is_relative_to(worktree)
            holds = any(link.resolve() == lock for link in (folder / "fd").iterdir())
        except OSError:
            continue  # it has ended, or belongs to somebody else
        if holds or (here and not _READERS.intersection(command)):
            return int(folder.name)
    return None

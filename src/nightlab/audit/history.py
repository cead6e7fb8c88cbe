"""What git remembers of a file, read only: its versions with their dates, and when each line was written.

Where there is no repository, or no git, nothing is remembered and the checks that need it say so.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MOST = 200  # versions of one file that are read
_PLAIN = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false")


@dataclass(frozen=True)
class Version:
    """A file as one commit has it: the commit, its date (ISO), its place in the history (0 is the oldest)."""

    commit: str
    date: str
    place: int


@dataclass(frozen=True)
class History:
    """The git history around a folder."""

    root: Path

    @cached_property
    def top(self) -> Path | None:
        """The top of the work tree, or None where there is none."""
        found = self._ask("rev-parse", "--show-toplevel")
        return Path(found.decode().strip()) if found else None

    @cached_property
    def _order(self) -> dict[str, int]:
        commits = (self._ask("rev-list", "--reverse", "--topo-order", "HEAD") or b"").decode().split()
        return {commit: place for place, commit in enumerate(commits)}

    def versions(self, path: Path) -> list[Version]:
        """The commits that changed a file, the oldest first; none where it was never committed."""
        if self.top is None:
            return []
        found = self._ask("log", f"-{MOST}", "--format=%H %cI", "--", str(path)) or b""
        pairs = [line.split() for line in found.decode().splitlines()]
        versions = [Version(commit, date, self._order.get(commit, 0)) for commit, date in pairs]
        return sorted(versions, key=lambda version: version.place)

    def content(self, path: Path, version: Version | str = "HEAD") -> bytes | None:
        """The bytes of a file in a commit; None where it is not in it."""
        if self.top is None:
            return None
        commit = version if isinstance(version, str) else version.commit
        return self._ask("show", f"{commit}:{path.resolve().relative_to(self.top.resolve())}")

    def written(self, path: Path) -> dict[int, str]:
        """The date (ISO, UTC) on which each committed line of a file was written, by its number."""
        if self.top is None or self.content(path) is None:
            return {}
        found = (self._ask("blame", "--line-porcelain", "--", str(path)) or b"").decode("utf-8", "replace")
        dates: dict[int, str] = {}
        number, commit, time = 0, "", 0
        for line in found.splitlines():
            if head := re.match(r"([0-9a-f]{40}) \d+ (\d+)", line):
                commit, number = head[1], int(head[2])
            elif line.startswith("author-time "):
                time = int(line.split()[1])
            elif line.startswith("\t") and commit.strip("0"):
                dates[number] = _iso(time)
        return dates

    def _ask(self, *words: str) -> bytes | None:
        """The output of a git command that only reads; None where it fails."""
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", *_PLAIN, "-C", str(self.root), *words], capture_output=True, env=environment, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def _iso(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()

"""The git history of a lab, through GitPython: the one module that opens repositories and writes to them.

A commit takes exactly the named paths and leaves whatever else a person has staged or changed alone. No hook runs,
nothing is signed, nothing is ever rewritten. The author is nightlab, the committer the person whose machine it is.
Secrets are refused, large files stay beside. Every call closes what it opened, so that no git process is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightlab.errors import LabError, UsageError
from nightlab.files import sha256_file
from nightlab.record import credentials, git_lock, git_state
from nightlab.record.git_state import LogEntry, Opened

if TYPE_CHECKING:
    from git import Git

__all__ = ["LargeFile", "LogEntry", "Repository", "SecretFound"]

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.safecrlf=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
_GIT = ["git", *(word for setting in _SETTINGS for word in ("-c", setting))]
_TRIES = 3


class SecretFound(UsageError):
    """Files to be committed hold secrets; `leaks` says where. Nothing was staged."""

    def __init__(self, leaks: Sequence[credentials.Leak]) -> None:
        shown = "; ".join(map(str, leaks[:5])) + (f"; {len(leaks) - 5} more" if len(leaks) > 5 else "")
        super().__init__(
            f"not committed: {shown}", hint="take the secret out of the file, and replace it if it is real"
        )
        self.leaks = tuple(leaks)


@dataclass(frozen=True)
class LargeFile:
    """A file above the limit, which stays out of the history: its size and hash stand in for it."""

    path: str
    size: int
    sha256: str

    def __str__(self) -> str:
        """The file in one line."""
        return f"Not in git: {self.path}, {self.size} bytes, sha256 {self.sha256}"


def _silent(text: str) -> None:
    """The listener of a caller that wants to hear nothing."""


class Repository:
    """The repository that a lab stands in; `root` is the lab's folder, which may be a part of a larger work tree.

    `say` hears, in one sentence each, of everything that was skipped or repaired on the way.
    """

    def __init__(
        self,
        root: Path,
        *,
        author: tuple[str, str] = ("nightlab", "nightlab@localhost"),
        limit_mb: float = 5.0,
        stale_after: float = 10.0,
        wait: float = 30.0,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.root = root.resolve()
        self._author = author
        self._limit = int(limit_mb * 1_000_000)
        self._stale_after = stale_after
        self._wait = wait
        self._say = say

    def check(self) -> None:
        """Raise LabError or UsageError, with the command that helps, where a commit would not be possible."""
        with self._open() as repo:
            git_state.check(repo, self.root)

    def has_identity(self) -> bool:
        """Whether git knows who commits."""
        with self._open() as repo:
            return git_state.has_identity(repo)

    def is_clean(self) -> bool:
        """Whether the lab's folder holds no change that is not committed."""
        with self._open() as repo:
            return not git_state.changed(repo, [self._inner(repo, self.root)])

    def has(self, key: str) -> bool:
        """Whether a commit carries this key."""
        with self._open() as repo:
            return git_state.find(repo, key) is not None

    def branch(self) -> str:
        """The branch that commits go to. Raises LabError where HEAD is detached."""
        with self._open() as repo:
            return repo.ask("symbolic-ref", "--short", "HEAD").strip()

    def head(self) -> str | None:
        """The newest commit, or None before the first."""
        with self._open() as repo:
            return git_state.head(repo)

    def log(self, limit: int = 50) -> list[LogEntry]:
        """The newest commits that touch the lab, newest first."""
        with self._open() as repo:
            return git_state.log(repo, self._inner(repo, self.root), limit)

    def oversized(self, paths: Iterable[str | Path]) -> list[LargeFile]:
        """The changed files below these paths that are above the limit, which a commit leaves out."""
        with self._open() as repo:
            return self._large(repo, git_state.changed(repo, [self._inner(repo, path) for path in paths]))

    def commit(
        self,
        paths: Iterable[str | Path],
        message: str,
        trailers: Mapping[str, str] | None = None,
        key: str | None = None,
        without: Collection[str] = (),
    ) -> str | None:
        """Commit the changes below exactly these paths; the commit's hash, or None where nothing changed.

        Files in `without` (as SecretFound names them) stay out of it.

        With a `key` that a commit already carries, that commit's hash comes back and nothing is done. Files above the
        limit are left out: the message carries their size and hash. Raises SecretFound, LabError, UsageError, LockHeld.
        """
        trailers = {**(trailers or {}), **({"Nightlab-Key": key} if key else {})}
        git_state.message(message, trailers)
        with self._open() as repo:
            git_state.check(repo, self.root)
            if key and (known := git_state.find(repo, key)):
                return known
            files, large = self._files(repo, [self._inner(repo, path) for path in paths], without)
            text = git_state.message("\n\n".join([message.strip(), *map(str, large)]), trailers)
            return self._write(repo, files, text) if files else None

    def _files(self, repo: Opened, paths: Sequence[str], without: Collection[str]) -> tuple[list[str], list[LargeFile]]:
        """The changed files to commit, and those too large for it; what is left out is said, a secret is refused."""
        if not paths or self._inner(repo, self.root) in paths:
            raise UsageError("name the paths to commit; the whole lab is not one", where=self.root)
        for name in git_state.ignored(repo, paths):
            self._say(f"{name} is ignored by git and was not committed")
        changed = [name for name in git_state.changed(repo, paths) if name not in without]
        inner = [name for name in changed if name.endswith("/")]
        large = self._large(repo, changed)
        for name in inner:
            self._say(f"{name} is a git repository of its own and was not committed")
        for file in large:
            self._say(f"{file.path} is above {self._limit / 1e6:g} MB and was not committed; its hash is {file.sha256}")
        files = [name for name in changed if name not in {*inner, *(file.path for file in large)}]
        values = credentials.secret_values(os.environ)
        places = [(repo.worktree / name, name) for name in files]
        leaks = [
            leak for p, n in places if p.is_file() and not p.is_symlink() for leak in credentials.leaks(p, n, values)
        ]
        if leaks:
            raise SecretFound(leaks)
        return files, large

    def _write(self, repo: Opened, files: Sequence[str], text: str) -> str:
        """Stage and commit; a lock that another git takes meanwhile is waited for, a few times."""
        name, email = self._author
        flags = ("--only", "--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace")
        for attempt in range(1, _TRIES + 1):
            git_lock.clear(
                git_state.locks(repo), repo.worktree, stale_after=self._stale_after, wait=self._wait, say=self._say
            )
            try:
                repo.ask("add", "--all", "--", *files)
                repo.ask(*("commit", *flags, "-m", text, "--", *files), GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=email)
                break
            except LabError as error:
                if ".lock" not in error.what or attempt == _TRIES:
                    raise
        return repo.ask("rev-parse", "HEAD").strip()

    def _large(self, repo: Opened, names: Sequence[str]) -> list[LargeFile]:
        places = [(name, repo.worktree / name) for name in names]
        sizes = [(n, p, p.stat().st_size) for n, p in places if p.is_file() and not p.is_symlink()]
        return [LargeFile(name, size, sha256_file(path)) for name, path, size in sizes if size > self._limit]

    def _inner(self, repo: Opened, path: str | Path) -> str:
        """A path of the lab as git names it, below the work tree; a link stays the link it is. Raises UsageError."""
        given = Path(os.path.normpath(self.root / path))
        place = given if given == self.root else given.parent.resolve() / given.name
        if not place.is_relative_to(self.root) or ".git" in place.relative_to(self.root).parts:
            raise UsageError(f"not a path of this lab: {path}", where=self.root)
        return place.relative_to(repo.worktree).as_posix()

    @contextlib.contextmanager
    def _open(self) -> Iterator[Opened]:
        try:
            import git
        except ImportError as error:
            raise LabError("git is not installed", hint="install git, for example: apt-get install git") from error
        try:
            repo = git.Repo(self.root, search_parent_directories=True)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise LabError(
                "the lab is not in a git repository", where=self.root, hint=f"git init {self.root}"
            ) from error
        try:
            yield _opened(repo.git, Path(repo.git_dir), Path(repo.common_dir), repo.working_tree_dir)
        finally:
            repo.close()


def _opened(git: Git, folder: Path, common: Path, worktree: str | os.PathLike[str] | None) -> Opened:
    if worktree is None:
        raise LabError("the git repository has no work tree", where=folder, hint="clone it, and put the lab there")
    # Set by hand: a night started from a git hook inherits these for another repository.
    place = {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(worktree), "GIT_INDEX_FILE": str(folder / "index")}
    place["GIT_LITERAL_PATHSPECS"] = "1"

    def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        status, output, complaint = git.execute(
            [*_GIT, *command], with_extended_output=True, with_exceptions=False, env={**place, **environment}
        )
        return status, output, complaint

    return Opened(folder, common, Path(worktree).resolve(), run)

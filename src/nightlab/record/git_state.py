"""Questions to an opened git repository, and whether its state allows a commit. Nothing here changes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import LabError, UsageError

_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
_KEY = re.compile(r"[\w.:/@+=-]{1,200}")
_TRAILER = re.compile(r"[A-Z][A-Za-z-]{0,60}")


@dataclass(frozen=True)
class Opened:
    """An opened repository: its folders, and `run`, which gives a git command's exit status, output and complaint."""

    folder: Path
    common: Path
    worktree: Path
    run: Callable[[Sequence[str], Mapping[str, str]], tuple[int, str, str]]

    def ask(self, *command: str, **environment: str) -> str:
        """The output of a git command. Raises LabError with git's own words where it is refused."""
        status, output, complaint = self.run(command, environment)
        if status == 0:
            return output
        words = " ".join(complaint.split())[:500]
        hint = f"git config --global --add safe.directory {self.worktree}" if "dubious ownership" in words else None
        raise LabError(f"git refused: {words or command[0]}", where=self.worktree, hint=hint)

    def holds(self, *command: str) -> bool:
        """Whether a git command that answers by its exit status says yes."""
        return self.run(command, {})[0] == 0


@dataclass(frozen=True)
class LogEntry:
    """One commit."""

    sha: str
    date: str
    subject: str
    trailers: dict[str, str]


def check(repo: Opened, root: Path) -> None:
    """Raise LabError or UsageError, with the command that helps, where a commit in `root` is not possible."""
    for name, what in _UNFINISHED.items():
        if (repo.folder / name).exists():
            hint = f"finish it, or undo it: git -C {root} {what} --abort"
            raise LabError(f"a {what} is not finished", where=root, hint=hint)
    if repo.ask("ls-files", "--unmerged", "-z"):
        raise LabError("files with merge conflicts", where=root, hint=f"git -C {root} status names them; resolve them")
    if not repo.holds("symbolic-ref", "--quiet", "HEAD"):
        raise LabError("HEAD is detached, commits would be lost", where=root, hint=f"git -C {root} switch -c nights")
    if not has_identity(repo):
        hint = 'git config --global user.name "Your Name" && git config --global user.email you@example.org'
        raise UsageError("git does not know who commits", where=root, hint=hint)
    if root != repo.worktree and ignored(repo, [root.relative_to(repo.worktree).as_posix()]):
        hint = f"take it out of .gitignore, or give it a repository of its own: git init {root}"
        raise LabError("the git repository above the lab ignores it", where=root, hint=hint)


def has_identity(repo: Opened) -> bool:
    """Whether git knows a name and an address for the committer."""
    return repo.holds("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")


def head(repo: Opened) -> str | None:
    """The newest commit, or None before the first."""
    status, output, _ = repo.run(("rev-parse", "--quiet", "--verify", "HEAD"), {})
    return output.strip() if status == 0 else None


def locks(repo: Opened) -> list[Path]:
    """The lock files that would stop a commit on the current branch."""
    branch = repo.ask("symbolic-ref", "HEAD").strip()
    return [repo.folder / "index.lock", repo.folder / "HEAD.lock", repo.common / f"{branch}.lock"]


def changed(repo: Opened, paths: Sequence[str]) -> list[str]:
    """The changed, new and deleted files below these paths, without ignored ones."""
    text = repo.ask("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", *paths)
    return [entry[3:] for entry in text.split("\0") if entry]


def ignored(repo: Opened, paths: Sequence[str]) -> list[str]:
    """Those of the paths that git ignores."""
    # check-ignore is the one command that refuses literal pathspecs; `./` keeps a leading colon from meaning something.
    off = {"GIT_LITERAL_PATHSPECS": "0"}
    return [path for path in paths if repo.run(("check-ignore", "--quiet", "--", f"./{path}"), off)[0] == 0]


def find(repo: Opened, key: str) -> str | None:
    """The commit that carries this key in its trailers, or None."""
    if head(repo) is None:
        return None
    form = "--format=%H%x1f%(trailers:key=Nightlab-Key,valueonly,separator=%x1f)"
    for line in repo.ask("log", form, "--fixed-strings", f"--grep=Nightlab-Key: {key}").splitlines():
        sha, *keys = line.split("\x1f")
        if key in keys:
            return sha
    return None


def log(repo: Opened, path: str, limit: int) -> list[LogEntry]:
    """The newest commits that touch a path, newest first."""
    if head(repo) is None:
        return []
    form = "--format=%H%x1f%cI%x1f%s%x1f%(trailers:only,unfold)%x1e"
    text = repo.ask("log", form, f"--max-count={limit}", "--", path)
    return [_entry(record.lstrip("\n")) for record in text.split("\x1e") if record.strip()]


def _entry(record: str) -> LogEntry:
    sha, date, subject, trailers = record.split("\x1f")
    return LogEntry(sha, date, subject, dict(line.split(": ", 1) for line in trailers.splitlines() if ": " in line))


def message(text: str, trailers: Mapping[str, str]) -> str:
    """A commit message whose trailers nobody can forge: they are the last paragraph, one clean line each."""
    body = "".join(c for c in text.strip() if c == "\n" or c.isprintable())[:4000]
    if not body:
        raise UsageError("a commit needs a message")
    lines = []
    for name, value in trailers.items():
        if not _TRAILER.fullmatch(name) or (name == "Nightlab-Key" and not _KEY.fullmatch(value)):
            raise UsageError(f"not a trailer of a commit: {name}: {value[:200]}")
        lines.append(f"{name}: {' '.join(value.split())[:200]}")
    return "\n\n".join([body, "\n".join(lines)]) if lines else body

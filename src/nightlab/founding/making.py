"""Making a lab: a new folder under git, or an existing repository completed to one.

The Markdown that people edit (agents, skills, state) is copied; the Python tools stay inherited, so that upgrades reach
old labs. Nothing is ever overwritten, and where the making fails, what it had written is taken away again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import LabError, NightlabError, NotSetUp, StorageError, UsageError
from nightlab.files import read_text, write_atomic
from nightlab.lab import Lab, shipped
from nightlab.settings import read_table

SETTINGS = """\
# A nightlab lab. `nightlab config` shows every setting, its value and where it comes from.
[tool.nightlab]
brain = "playbook"    # what answers the orchestrator's turns
human = "you"         # the name that questions in the diary are addressed to
hours = 8.0           # how long a night may last
budget-usd = 20.0     # dollars that a night may spend
"""
IGNORED = (".nightlab/", "state/nights/*/watch_*.jsonl", "state/nights/*/calls.jsonl")
"""What git leaves out: the cache, and a night's transcripts."""
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
NOTES = """\
# Scaffolding notes

What the harness learned about itself in this lab: traps, workarounds, habits that paid off.
Nights add lines; people curate them.
"""
STATE = """\
# Research state

## Question

(Write yours here: one question that an experiment can answer.)

## Hypotheses

(One line each, as in `- H1: the effect sits in the early layers`.)

## Queue

(One line for each experiment, as in `- [ ] exp_001_first_look: is there an effect at all?` Nights take them in order.)

## Findings
"""
DIARY = """\
# Research diary

One entry for each night. Answer a question with `nightlab reply`, or write a quoted line under it.
"""


@dataclass(frozen=True)
class Survey:
    """What a folder lacks to be a lab; nothing of it is written yet."""

    root: Path
    missing: Mapping[str, str]
    kept: tuple[str, ...]
    is_repository: bool
    is_new: bool


def survey(target: Path, *, git: bool = False) -> Survey:
    """See what `init` would add to a folder, and check that it may. Raises UsageError, NotSetUp, StorageError."""
    root = target.absolute().resolve()
    if root.exists() and not root.is_dir():
        raise UsageError("not a folder", where=root)
    _outside_labs(root)
    is_new = not root.exists() or not any(root.iterdir())
    is_repository = (root / ".git").exists() or (not git and _in_repository(root))
    if not (is_new or is_repository or git):
        hint = f"`nightlab init {target} --git` makes it one"
        raise LabError("this folder has files and is no git repository", where=root, hint=hint)
    _writable(root)
    check_identity(_nearest(root) if is_repository else Path("/"))
    missing, kept = {}, []
    for name, text in lab_files().items():
        if (root / name).exists() or (root / name).is_symlink():
            kept.append(name)
        else:
            missing[name] = text
    missing.update(_extended(root))
    return Survey(root, missing, tuple(sorted(set(kept) - set(missing))), is_repository, is_new)


def init(found: Survey) -> Lab:
    """Write what a survey found missing; a folder that is no repository becomes one, with a first commit."""
    with undone_on_failure(found.root, found.missing):
        write_all(found.root, found.missing)
        if not found.is_repository:
            start_repository(found.root, found.missing, "A new lab")
    return Lab.open(found.root)


def write_all(root: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder. Raises StorageError."""
    for name, text in files.items():
        write_atomic(root / name, text)


@contextlib.contextmanager
def undone_on_failure(root: Path, files: Iterable[str]) -> Iterator[None]:
    """Where what is done inside fails, bring these files back to what they were; a folder that is new goes away."""
    is_new = not root.exists() or not any(root.iterdir())
    before = {name: (root / name).read_bytes() if (root / name).is_file() else None for name in files}
    try:
        yield
    except (NightlabError, OSError):
        if is_new:
            shutil.rmtree(root, ignore_errors=True)
        else:
            _restore(root, before)
        raise


def start_repository(
    root: Path, files: Mapping[str, str], message: str, identity: tuple[str, str] | None = None
) -> None:
    """Make the folder a git repository and commit these files; an identity given is set for this repository alone."""
    git(root, "init", "--quiet", "--initial-branch=main", "--template=")
    if identity:
        for key, value in zip(("user.name", "user.email"), identity, strict=True):
            git(root, "config", key, value)
    git(root, "add", "--", *files)
    git(root, "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "commit", "--quiet", "-m", message)


def check_identity(folder: Path) -> None:
    """Raise UsageError where git does not know who commits, NotSetUp where there is no git."""
    for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        if _run(folder, "-c", "user.useConfigOnly=true", "var", who).returncode:
            raise UsageError(
                "git does not know who you are, and a lab is a git repository",
                hint='git config --global user.name "Your Name"; git config --global user.email you@example.org',
            )


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints. Raises StorageError with git's own words where it fails."""
    done = _run(folder, *arguments)
    if done.returncode:
        command = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        said = (done.stderr or done.stdout).strip().splitlines()
        if re.search(r"no space left|out of disk", done.stderr, re.IGNORECASE):
            raise StorageError("cannot write: the disk is full", where=folder, hint="free some space, then try again")
        raise StorageError(f"git {command} failed: {said[-1] if said else done.returncode}", where=folder)
    return done.stdout.strip()


def enclosing_lab(folder: Path) -> Path | None:
    """The root of the lab that a folder, existing or not, would stand in or be."""
    for place in (folder, *folder.parents):
        if (place / "pyproject.toml").is_file() and read_table(place / "pyproject.toml") is not None:
            return place
    return None


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder; variables that point it to another repository are left out."""
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        return subprocess.run(["git", *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotSetUp("git is not installed, and a lab is a git repository", hint="install git") from error


def lab_files() -> dict[str, str]:
    """Every file of a new lab: path below its root, and text."""
    files = {"pyproject.toml": SETTINGS, ".gitignore": "\n".join(IGNORED) + "\n", "scaffolding_notes.md": NOTES}
    files |= {"state/RESEARCH_STATE.md": STATE, "state/research_diary.md": DIARY}
    for kind in ("agents", "skills"):
        for path in sorted(shipped(kind).rglob("*.md")):
            files[f"{kind}/{path.relative_to(shipped(kind))}"] = read_text(path, LabError)
    return files


def _extended(root: Path) -> dict[str, str]:
    """Files of other people's that a lab needs a line in: their text with that line after it."""
    longer = {}
    pyproject, ignore = root / "pyproject.toml", root / ".gitignore"
    if pyproject.is_file() and read_table(pyproject) is None:
        text = read_text(pyproject, LabError).rstrip("\n") + "\n\n" + SETTINGS
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            hint = "write a [tool.nightlab] table into it by hand, then init again"
            raise LabError("cannot be extended", where=pyproject, hint=hint) from error
        longer["pyproject.toml"] = text
    if ignore.is_file():
        lines = read_text(ignore, LabError).splitlines()
        lacking = [line for line in IGNORED if line not in lines]
        if lacking:
            longer[".gitignore"] = "\n".join([*lines, *lacking]) + "\n"
    return longer


def _outside_labs(root: Path) -> None:
    around = enclosing_lab(root.parent)
    if around:
        raise UsageError("this folder is inside another lab", where=around, hint="choose a folder outside of it")


def _writable(root: Path) -> None:
    """Raise StorageError where the nearest existing folder takes no files."""
    place = _nearest(root)
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageError("cannot write: permission denied", where=place, hint="choose a folder you can write to")


def _nearest(root: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(place for place in (root, *root.parents) if place.exists())


def _in_repository(root: Path) -> bool:
    """Whether a folder, existing or not, stands in the work tree of a repository that does not ignore it."""
    place = _nearest(root)
    return _run(place, "rev-parse", "--show-toplevel").returncode == 0 and bool(
        _run(place, "check-ignore", "--quiet", str(root)).returncode
    )


def _restore(root: Path, before: Mapping[str, bytes | None]) -> None:
    for name, data in before.items():
        path = root / name
        if data is not None:
            if path.read_bytes() != data:
                path.write_bytes(data)
            continue
        if path.is_file():
            path.unlink()
        for folder in path.parents:
            if folder == root or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()

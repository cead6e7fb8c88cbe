"""Commits of a night: exact paths, one commit for each key, and said in the log; large files are kept by hash only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nightlab.events import EventLog
from nightlab.files import clear_parts
from nightlab.lab import Lab
from nightlab.record.repository import Repository


def repository(lab: Lab, events: EventLog | None = None) -> Repository:
    """The lab's repository with the lab's author and limits; what it leaves out is a degradation of the night.

    What a killed process left half written is removed first: it must not be committed.
    """
    for folder in (lab.state, lab.experiments):
        clear_parts(folder)

    def say(what: str) -> None:
        if events is not None:
            events.emit("degradation", what=what, why="the rules of a night's commits", where="commit")

    author = (lab.config.author_name, lab.config.author_email)
    return Repository(lab.root, author=author, limit_mb=lab.config.commit_limit_mb, say=say)


def say_branch(lab: Lab, events: EventLog) -> None:
    """Log the branch that the night's commits go to, where it is another one than before."""
    before = next((row["branch"] for row in reversed(list(events.read())) if "branch" in row), None)
    now = Repository(lab.root).branch()
    if before not in (None, now):
        what = f"the branch was switched from {before} to {now} during the night"
        why = f"somebody did it; the night's commits go on top of {now}"
        events.emit("degradation", what=what, why=why, where="commit", branch=now)


def commit_paths(
    lab: Lab, events: EventLog, night: str, paths: Sequence[Path], message: str, *, key: str, experiment: str = ""
) -> str | None:
    """Commit what changed below these paths, once for a key; its hash, or None where nothing changed."""
    say_branch(lab, events)
    there = [path for path in paths if path.exists()]
    trailers = {"Nightlab-Night": night, **({"Nightlab-Experiment": experiment} if experiment else {})}
    sha = repository(lab, events).commit(there, message, trailers, key=f"{night}/{key}") if there else None
    if sha:
        subject = message.splitlines()[0]
        events.once(f"{key}/commit", "commit", sha=sha, subject=subject)
    return sha

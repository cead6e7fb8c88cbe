"""The stage of a rehearsal: a lab of its own, with a repository, in which one experiment of another lab is played."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import PlanError, UsageError
from nightlab.files import write_atomic
from nightlab.founding.making import DIARY, NOTES, lab_files, start_repository
from nightlab.founding.stand_ins import StandIn
from nightlab.founding.troubles import Staged
from nightlab.lab import Lab
from nightlab.settings import Value

MARK = "REHEARSAL"
IDENTITY = ("nightlab rehearsal", "rehearsal@localhost")
HOURS = 1.0
_STATE = """\
# Research state

## Question

REHEARSAL of {experiment}: {question}

## Hypotheses

## Queue

- [ ] {experiment}: rehearsal

## Findings
"""
_SETTINGS = """\
# A rehearsal lab: `nightlab rehearse` made it. Nothing in it is a finding.
[tool.nightlab]
brain = "playbook"
hours = 1.0
budget-usd = 0.0
request-timeout = 20.0
max-identical-failures = 12
"""


@dataclass(frozen=True)
class Rehearsal:
    """A copy of a lab that is ready for its night."""

    lab: Lab
    experiment: str
    standing: tuple[StandIn, ...]
    staging: tuple[Staged, ...]
    notes: tuple[str, ...]


def new_root(target: Path | None) -> Path:
    """The folder of the stage: a new or an empty one, else one of the system's for such. Raises UsageError."""
    if target is None:
        return Path(tempfile.mkdtemp(prefix="nightlab-rehearsal-"))
    root = target.absolute().resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError("there is something here already", where=root, hint="name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    return root


def copy_own(lab: Lab, root: Path, places: Sequence[Path]) -> None:
    """Copy the lab's own agents, skills and tools, and these files and folders of it, where they are there."""
    for kind in ("agents", "skills", "tools"):
        if (lab.root / kind).is_dir():
            shutil.copytree(lab.root / kind, root / kind, ignore=shutil.ignore_patterns("__pycache__"))
    for place in dict.fromkeys(places):
        inner = place.resolve()
        if not inner.exists() or not inner.is_relative_to(lab.root.resolve()):
            continue
        copy = root / inner.relative_to(lab.root.resolve())
        if inner.is_dir():
            shutil.copytree(inner, copy, dirs_exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inner, copy)


def start(root: Path, experiment: str, question: str) -> None:
    """Make the folder a lab whose queue holds the experiment, with its repository."""
    files = {name: text for name, text in lab_files().items() if not (root / name).exists()}
    files["pyproject.toml"] = _SETTINGS
    files["state/RESEARCH_STATE.md"] = _STATE.format(experiment=experiment, question=question)
    files["state/research_diary.md"] = DIARY
    files["scaffolding_notes.md"] = NOTES
    for name, text in files.items():
        write_atomic(root / name, text)
    inner = {str(path.relative_to(root)): "" for path in root.rglob("*") if path.is_file()}
    there = {name: "" for name in inner if not name.startswith(".nightlab")}
    start_repository(root, there, f"{MARK} of {experiment}", IDENTITY)


def opened(root: Path, **flags: Value | None) -> Lab:
    """The stage as a lab: the playbook, on this machine, without money."""
    given: dict[str, Value | None] = {"brain": "playbook", "engine": "embedded", "place": "local", "hours": HOURS}
    return Lab.open(root, {**given, "budget_usd": 0.0, **flags})


def not_rehearsable(error: PlanError) -> UsageError:
    """What is said where the rehearsal's own plan does not hold."""
    hint = "the rehearsal could not be made of this plan; `nightlab sweep --dry-run` checks the plan itself"
    return UsageError(f"the plan cannot be rehearsed: {error.what}", where=error.where, hint=hint)

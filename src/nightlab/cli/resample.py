"""An experiment asked once more: its plan under a new number, swept, judged, reported, and held against the first."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nightlab.cli.session import Session
from nightlab.files import JsonLines, write_atomic
from nightlab.lab import Lab

PLANNED = ("config.yaml", "rubric.md", "report.md.j2", "prompts", "conditions")
SAMPLES = "samples.jsonl"
_AGAIN = "_again"


def ask_again(session: Session, lab: Lab, folder: Path) -> None:
    """Ask, judge and report the plan of an experiment as a new one; say what came out otherwise.

    An experiment that was begun so and cut off goes on. Exit code 1 where cells or judgments are missing in the end.
    """
    again = _begun(lab, folder) or _copied(lab, folder)
    click.echo(f"{folder.name} is asked again as {again.name}")
    for command in ("sweep", "judge", "report"):
        code = _call(session, command, again.name)
        if code:
            raise SystemExit(code)
    for line in compared(folder, again):
        click.echo(line)


def compared(folder: Path, again: Path) -> list[str]:
    """What two experiments of one plan have in common: verdicts, and answers that are word for word the same."""
    from nightlab.evidence.analyze import analyze_again

    with tempfile.TemporaryDirectory() as aside:
        first, second = (analyze_again(place, Path(aside), pictures=False) for place in (folder, again))
    texts = [{_place(row): row.get("text") for row in JsonLines(f / SAMPLES).read()} for f in (folder, again)]
    both = [place for place in texts[0] if place in texts[1]]
    same = sum(1 for place in both if texts[0][place] == texts[1][place])
    lines = [f"{same} of {len(both)} answers are word for word the same"]
    for before, after in zip(first.verdicts, second.verdicts, strict=False):
        word = "again" if before.verdict == after.verdict else f"then {before.verdict}, now"
        lines.append(f"{before.id}: {word} {after.verdict}: {after.text}")
    return lines


def _place(row: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(row.get(factor) for factor in ("model", "condition", "prompt", "replicate"))


def _begun(lab: Lab, folder: Path) -> Path | None:
    """The newest copy of this experiment that has no report yet."""
    slug = re.sub(r"^exp_\d+", "", folder.name)
    found = [lab.experiments / name for name in lab.experiment_names() if name.endswith(f"{slug}{_AGAIN}")]
    return next((place for place in reversed(found) if not (place / "report.md").exists()), None)


def _copied(lab: Lab, folder: Path) -> Path:
    numbers = [int(name.split("_")[1]) for name in lab.experiment_names()]
    slug = re.sub(r"^exp_\d+", "", folder.name)
    again = lab.experiments / f"exp_{max(numbers) + 1:03d}{slug}{_AGAIN}"
    for name in PLANNED:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, again / name)
        elif source.is_file():
            write_atomic(again / name, source.read_bytes())
    return again


def _call(session: Session, command: str, experiment: str) -> int:
    """Call another command in this process; its exit code."""
    from nightlab.cli import COMMANDS

    try:
        COMMANDS[command].load().main([experiment], obj=session, standalone_mode=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0

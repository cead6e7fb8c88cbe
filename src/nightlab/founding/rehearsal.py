"""A rehearsal: any plan played through on this machine, in a copy of the lab, with practice models and staged troubles.

It answers three questions before a GPU is paid for: does the plan run from its first line to its report, what would the
real night take, and which guards fire when things go wrong. The real experiment is only read. The copy is a whole lab
with a repository of its own, and stays, so that its report can be read; everything in it is marked REHEARSAL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from nightlab.errors import PlanError, UsageError
from nightlab.events import EventLog
from nightlab.experiments.identity import model_folder
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import FAILURES
from nightlab.files import JsonLines, read_text, write_atomic
from nightlab.founding.stage import MARK, Rehearsal, copy_own, new_root, not_rehearsable, opened, start
from nightlab.founding.stand_ins import StandIn, layers_of, rehearsed, relative_layers, stand_ins, with_markers
from nightlab.founding.troubles import TROUBLES, USUAL, chosen, prefix, staged
from nightlab.lab import Lab

BANNER = "> **REHEARSAL.** Practice models stand in for the models of the plan. Nothing here is a finding.\n"
PARTS = ("report.md.j2", "prompts", "conditions", "rubric.md", "gold.yaml")


def prepare(lab: Lab, experiment: str, faults: str | None, target: Path | None = None) -> Rehearsal:
    """Copy what an experiment that asks models needs into a lab of its own, made rehearsable.

    `faults` names the troubles to stage, comma between them; None stages the usual ones. Raises UsageError, PlanError.
    """
    plan = Plan.load(lab.experiment(experiment))
    staging = staged(chosen(faults, TROUBLES, USUAL), [model.name for model in plan.models])
    root = new_root(target)
    standing = stand_ins(plan, {model.name: _folder(plan, model.name) for model in plan.models})
    content, notes = rehearsed(plan, standing)
    _copy(lab, plan, root)
    folder = root / "experiments" / plan.name
    notes += _adapt(plan, standing, folder, root)
    write_atomic(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    start(root, plan.name, plan.question)
    made = opened(root, server_prefix=prefix(staging, root / ".nightlab" / "troubles") or None)
    try:
        Plan.load(folder)
    except PlanError as error:
        raise not_rehearsable(error) from error
    return Rehearsal(made, plan.name, tuple(standing), tuple(staging), tuple(notes))


def mark(rehearsal: Rehearsal) -> Path | None:
    """Put REHEARSAL on the report, and commit it; its path, or None where the night wrote none."""
    from nightlab.night.publish import repository

    folder = rehearsal.lab.experiments / rehearsal.experiment
    path = folder / "report.md"
    if not path.is_file():
        return None
    text = read_text(path, UsageError)
    if BANNER not in text:
        title, _, rest = text.partition("\n")
        write_atomic(path, f"{title.rstrip()} ({MARK})\n\n{BANNER}{rest}")
        repository(rehearsal.lab).commit([path], f"{MARK}: the report is marked", {})
    return path


def guards(rehearsal: Rehearsal, night: str) -> list[dict[str, Any]]:
    """The guards that fired in a night: what each met, how often, and one example."""
    found: Counter[str] = Counter()
    example: dict[str, str] = {}
    for name, told in _fired(rehearsal, night):
        found[name] += 1
        example.setdefault(name, told)
    return [{"guard": name, "times": times, "example": example[name]} for name, times in found.most_common()]


def _fired(rehearsal: Rehearsal, night: str) -> Iterator[tuple[str, str]]:
    for row in EventLog(rehearsal.lab.night(night)).read():
        kind = row["kind"]
        if kind == "server_healing":
            yield f"healed start: {row['failure']}", str(row["step"])
        elif kind == "server_failed":
            yield f"failed server named: {row['failure']}", str(row["error"])[:200]
        elif kind == "canary":
            verdict = "passed" if row["passed"] else f"failed: {row['failure']}"
            yield f"canary {verdict}", f"{row['checks']} checks on {row['model']}"
        elif kind in ("degradation", "correction", "violation", "worker_lost", "question"):
            yield kind.replace("_", " "), str(row.get("what") or row.get("question") or row.get("why") or "")[:200]
    for row in JsonLines(rehearsal.lab.experiments / rehearsal.experiment / FAILURES).read():
        yield f"failed attempt kept apart: {row['class']}", str(row.get("error", ""))[:200]


def _folder(plan: Plan, name: str) -> Path | None:
    try:
        return model_folder(plan, plan.model(name))
    except PlanError:
        return None  # its path leads nowhere on this machine: that is what a rehearsal is for


def _copy(lab: Lab, plan: Plan, root: Path) -> None:
    """The lab's own parts, the experiment's, and what the plan names elsewhere in the lab."""
    factors = plan.config.factors
    listed = [factors.conditions, factors.prompts, plan.judge.rubric]
    names = [name for value in listed for name in ([value] if isinstance(value, str) else value)]
    copy_own(lab, root, [plan.folder / part for part in PARTS] + [plan.resolve(name) for name in names])


def _adapt(plan: Plan, standing: Sequence[StandIn], folder: Path, root: Path) -> list[str]:
    """Give conditions relative layers, and the rubric markers, where they lack them; what was changed."""
    notes = []
    layers = layers_of(list(standing), plan)
    for condition in plan.conditions:
        if condition.path is None:
            continue
        copy = _copied(condition.path, plan, root)
        moved = relative_layers(read_text(condition.path, PlanError), layers, condition.path)
        if moved is not None:
            write_atomic(copy, moved)
            notes.append(f"the layers that {condition.name} names by number stand at their relative place of {layers}")
    marked = with_markers(plan.rubric)
    if marked is not None:
        write_atomic(_copied(plan.rubric, plan, root), marked)
        notes.append("the rubric has no markers: it was given those of the practice set, so its scores mean nothing")
    return notes


def _copied(path: Path, plan: Plan, root: Path) -> Path:
    inside = path.resolve()
    if inside.is_relative_to(plan.root.resolve()):
        return root / inside.relative_to(plan.root.resolve())
    raise UsageError("the plan uses a file outside of the lab", where=path, hint="copy it into the lab")

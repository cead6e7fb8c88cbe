"""What differs from the frozen plan, found by comparing the lock with the rows, the rubric, prompts and config.yaml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nightlab.errors import NightlabError
from nightlab.evidence.table import EXCLUDED, UNPROVEN, Table
from nightlab.experiments.freeze import frozen_plan
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import rubric_sha256


def find_deviations(table: Table, folder: Path) -> list[str]:
    """One text for each way in which rows or files differ from the frozen plan; empty where nothing does."""
    return [*_arms(table), *_answers(table), *_judging(table, folder), *_plan(table, folder)]


def _arms(table: Table) -> Iterator[str]:
    for (model, condition), group in table.by("model", "condition").items():
        planned, answered = len(group.cells), group.answered()
        if answered < planned:
            missing = "; ".join(f"{reason} {count}" for reason, count in group.reasons("missing").items())
            word = "dropped" if answered == 0 else "incomplete"
            yield f"{word}: {model}, {condition}: {answered} of {planned} cells answered ({missing})"
    added = Counter((str(row.get("model")), str(row.get("condition"))) for row in table.unplanned)
    for (model, condition), count in added.items():
        yield f"added: {model}, {condition}: {count} answers to cells that are not in the plan; they are not counted"


def _answers(table: Table) -> Iterator[str]:
    excluded = table.reasons(EXCLUDED)
    yield from (f"{reason}: {count} answers are not counted" for reason, count in excluded.items())
    unproven = table.count(UNPROVEN)
    if unproven:
        yield f"{unproven} answers come from a server without a passed canary; they are not counted"
    other = Counter(
        (cell.model, str(fate.sample["model_id"]))
        for cell, fate in zip(table.cells, table.fates, strict=True)
        if fate.sample is not None and fate.sample.get("model_id") != cell.model_id
    )
    for (model, found), count in other.items():
        yield f"{model}: {count} answers say they are of {found}, not of the planned model"


def _judging(table: Table, folder: Path) -> Iterator[str]:
    judge = table.design.config.judge
    used = {str(row.get("rubric")) for rows in table.rows.judgments.values() for row in rows}
    if len(used) > 1:
        yield f"judgments were made under {len(used)} different rubrics: {', '.join(sorted(used))}"
    frozen = str(table.design.lock.document["rubric"])
    rubric = folder / judge.rubric
    if rubric.is_file() and rubric_sha256(rubric) != frozen:
        yield f"{judge.rubric} differs from the frozen rubric"
    short = sum(
        1 for fate in table.fates if fate.judgments and len({r["repeat"] for r in fate.judgments}) < judge.repeats
    )
    if short:
        yield f"{short} answers were judged less often than the planned {judge.repeats} times"


def _plan(table: Table, folder: Path) -> Iterator[str]:
    frozen = table.design.lock.document
    try:
        plan = Plan.load(folder)
    except NightlabError as problem:
        yield f"config.yaml can no longer be compared with the frozen plan: {problem.what}"
        return
    now, before = plan.config.frozen(), frozen_plan(frozen)
    for key in now:
        if now[key] != before.get(key):
            yield f"`{key}` in config.yaml differs from the frozen plan"
    prompts = {p.name: {"category": p.category, "mode": p.mode, **p.content} for p in plan.prompts}
    changed = [name for name in {**prompts, **frozen["prompts"]} if prompts.get(name) != frozen["prompts"].get(name)]
    if changed:
        yield f"prompts differ from the frozen ones: {', '.join(changed)}"

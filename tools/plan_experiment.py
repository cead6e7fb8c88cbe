"""Write, check, correct and freeze an experiment's plan."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from nightlab.compute import open_place
from nightlab.evidence.power import read_power, simulate_power, verdict_on_plan
from nightlab.evidence.progress import progress
from nightlab.evidence.run_power import power_of_runs, verdict_on_runs
from nightlab.experiments.change import apply, apply_to
from nightlab.experiments.check import check
from nightlab.experiments.freeze import verify
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import Plan
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.night.blindness import check_blindness
from nightlab.night.freezing import freeze_experiment
from nightlab.night.publish import commit_paths
from nightlab.runs.freeze import verify_run
from nightlab.runs.plan import RunPlan, kind_of
from nightlab.runs.starting import check_gpus
from nightlab.toolbox import ToolContext, ToolFailure, tool

FOLDERS = {"prompts": ".yaml", "conditions": ".yaml"}
FILES = ("config.yaml", "rubric.md", "gold.yaml")


@tool(effect="write")
async def plan_experiment(
    ctx: ToolContext,
    experiment: str,
    action: Literal["check", "write", "correct", "freeze"],
    files: dict[str, str] | None = None,
    changes: dict[str, Any] | None = None,
    why: str = "",
) -> dict[str, Any]:
    """Work on a plan before its data: check it, write a new one, correct a value, or freeze it.

    A check resolves every (model, adapter, condition) pair before anything is started; its problems name their remedy
    where there is one. A frozen plan is committed and cannot change; a sweep needs a frozen plan.

    Args:
        experiment: The folder's name, exp_NNN_slug.
        action: check, write (a new or unfrozen plan from `files`), correct (values from `changes`), or freeze.
        files: For write: texts by path: config.yaml, rubric.md, gold.yaml, prompts/*.yaml, conditions/*.yaml.
        changes: For correct: values by key path, such as {"models.qwen.id": "org/name"}.
        why: For correct: the reason; it stands in the report.

    Returns:
        problems and warnings of the check, progress of the experiment; after a freeze its sha256, cells and commit.
        After a check, power: whether the plan can decide its question, and how often it would decide each hypothesis.
    """
    if action == "write":
        name = await asyncio.to_thread(_write, ctx, experiment, files or {})
    else:
        name = ctx.lab.experiment(experiment).name
    folder = ctx.lab.experiments / name
    if action == "correct":
        await asyncio.to_thread(_correct, ctx, folder, changes or {}, why)
    result: dict[str, Any] = {"experiment": name}
    if action == "freeze":
        result |= await asyncio.to_thread(_freeze, ctx, folder)
    problems = await asyncio.to_thread(_problems, ctx.lab, folder)
    rows = [{"code": p.code, "what": p.what, "where": p.where, "remedy": p.remedy, "hint": p.hint} for p in problems]
    levels = [p.level for p in problems]
    result["problems"] = [row for row, level in zip(rows, levels, strict=True) if level == "error"]
    result["warnings"] = [row["what"] for row, level in zip(rows, levels, strict=True) if level == "warning"]
    if action == "check" and not result["problems"]:
        result["power"] = await asyncio.to_thread(_power, folder)
    return result | {"progress": progress(ctx.lab, name).as_data()}


def _power(folder: Path) -> dict[str, Any]:
    """Whether the plan can decide its question, and how often it would decide each hypothesis."""
    if kind_of(folder) == "run":
        powers = power_of_runs(RunPlan.load(folder).config)
        return {"verdict": verdict_on_runs(powers), "hypotheses": [power.sentence() for power in powers]}
    if told := read_power(folder):
        return {"verdict": told["verdict"], "hypotheses": [row["said"] for row in told["hypotheses"]]}
    found = simulate_power(Plan.load(folder))
    return {"verdict": verdict_on_plan(found), "hypotheses": [power.sentence() for power in found]}


def _problems(lab: Lab, folder: Path) -> list[Any]:
    """The check of a plan; a frozen one is compared with its lock instead."""
    if kind_of(folder) == "run":
        runs = RunPlan.load(folder)
        if read_lock(folder) is not None:
            verify_run(runs)
        _ = runs.inputs  # every input is there, or this says which is not
        check_gpus(lab, runs, open_place(lab))
        return []
    plan = Plan.load(folder)
    if read_lock(folder) is not None:
        verify(plan)
    return [*check(plan), *check_blindness(plan)]


def _correct(ctx: ToolContext, folder: Path, changes: dict[str, Any], why: str) -> None:
    ctx.in_scope(folder / "config.yaml")
    if not changes:
        raise ToolFailure("bad_argument", "no changes", 'give them by key path: {"models.qwen.id": "org/name"}')
    if kind_of(folder) == "run":
        apply_to(folder, changes, RunPlan.parse)
    else:
        apply(folder, changes)
    ctx.events.once(ctx.call_id, "correction", experiment=folder.name, changes=changes, why=why[:600])


def _freeze(ctx: ToolContext, folder: Path) -> dict[str, Any]:
    ctx.in_scope(folder / "plan.lock.json")
    frozen = freeze_experiment(folder)
    key, sha = f"{folder.name}/frozen", frozen.sha256
    commit = commit_paths(ctx.lab, ctx.events, ctx.night, [folder], frozen.message, key=key)
    ctx.events.once(f"{key}/{sha}", "plan_frozen", experiment=folder.name, sha256=sha, cells=frozen.cells)
    return {"sha256": sha, "cells": frozen.cells, "commit": commit}


def _write(ctx: ToolContext, name: str, files: dict[str, str]) -> str:
    """Write a plan's files as a whole: they are read in a copy first, so that nothing half-written stays."""
    folder = ctx.in_scope(f"experiments/{name}/config.yaml").parent
    for path in files:
        _allowed(path)
        ctx.in_scope(folder / path)
    if read_lock(folder) is not None:
        raise ToolFailure("frozen", f"{name} is frozen", "write a new experiment folder")
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=ctx.lab.experiments) as scratch:
        copy = Path(scratch) / name
        if folder.is_dir():
            shutil.copytree(folder, copy)
        for path, text in files.items():
            write_atomic(copy / path, text)
        RunPlan.load(copy) if kind_of(copy) == "run" else Plan.load(copy)
        ctx.lab.experiment_names()
        for path, text in files.items():
            write_atomic(folder / path, text)
    return ctx.lab.experiment(name).name


def _allowed(path: str) -> None:
    parts = PurePosixPath(path).parts
    inner = len(parts) == 2 and parts[0] in FOLDERS and PurePosixPath(path).suffix == FOLDERS[parts[0]]
    if path not in FILES and not (inner and ".." not in parts):
        known = "config.yaml, rubric.md, gold.yaml, prompts/*.yaml, conditions/*.yaml"
        raise ToolFailure("not_allowed", f"{path} is no file of a plan", f"a plan has {known}")

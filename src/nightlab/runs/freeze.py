"""The freeze of a plan of `kind: run`: command, grid, metrics, predictions and the hashes of all inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlab.errors import FrozenError
from nightlab.experiments.freeze import Frozen, differences
from nightlab.experiments.lock import LOCK, Lock, read_lock, write_lock
from nightlab.files import sha256_json
from nightlab.runs.plan import RunPlan


def freeze_run(plan: RunPlan) -> Frozen:
    """Fix a plan; one that is fixed already stays as it is. Raises FrozenError, PlanError."""
    if read_lock(plan.folder) is not None:
        return verify_run(plan)
    lock = write_lock(plan.folder, document(plan, plan.inputs))
    return Frozen(lock.sha256, plan.folder / LOCK, lock.document["cells"]["count"])


def verify_run(plan: RunPlan) -> Frozen:
    """The lock of a plan that is still what was frozen. Raises FrozenError where it is not, or was never frozen."""
    lock = read_lock(plan.folder)
    if lock is None:
        hint = "freeze it first: its hash comes before its data"
        raise FrozenError("the plan is not frozen", where=plan.folder, hint=hint)
    changed = deviations_of(plan, lock)
    if changed:
        hint = "undo the change, or make a new experiment folder"
        raise FrozenError(f"the plan changed after it was frozen: {changed[0]}", where=plan.folder, hint=hint)
    return Frozen(lock.sha256, plan.folder / LOCK, lock.document["cells"]["count"])


def deviations_of(plan: RunPlan, lock: Lock) -> list[str]:
    """What differs between a plan and its lock; an input that is not here any more is not compared."""
    there = {name: sha for name, sha in frozen_inputs(lock).items() if not _exists(plan, name)}
    now = document(plan, {**frozen_inputs(lock), **_present(plan), **there})
    causes = [part for part in now if part != "cells"]
    return [text for part in causes for text in differences(lock.document.get(part), now[part], part)]


def frozen_inputs(lock: Lock) -> dict[str, str]:
    """The hashes of the inputs as they were frozen."""
    return dict(lock.document["inputs"])


def document(plan: RunPlan, inputs: Mapping[str, str]) -> dict[str, Any]:
    """All of a plan that its hash covers, as a JSON value."""
    grid = plan.grid(inputs)
    cells = {"count": len(grid), "sha256": sha256_json([cell.key for cell in grid])}
    named = {name: inputs[name] for name in plan.config.inputs}
    return {"v": 1, "experiment": plan.name, "plan": plan.config.frozen(), "inputs": named, "cells": cells}


def _exists(plan: RunPlan, name: str) -> bool:
    return any((folder / name).is_file() for folder in (plan.folder, plan.root))


def _present(plan: RunPlan) -> dict[str, str]:
    return plan.inputs if all(_exists(plan, name) for name in plan.config.inputs) else {}

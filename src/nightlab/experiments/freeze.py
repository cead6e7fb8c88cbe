"""The freeze: a plan's hash is fixed before the first sample, and nothing is swept under another one.

Everything that could change an answer or its score is in the hash: the configuration, prompts, conditions as resolved,
weights, rubric. `serving` is not: it says where the models answer, not what they are asked. What it declared stands
beside the hash, and the report tells what answered otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nightlab.errors import AdapterError, FrozenError, PlanError
from nightlab.experiments.cells import product
from nightlab.experiments.check import check, first_error
from nightlab.experiments.identity import ModelIdentity, Treatments, adapter_identity, model_identity, treatments
from nightlab.experiments.lock import LOCK, Lock, read_lock, write_lock
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import rubric_sha256
from nightlab.experiments.samples import SAMPLES
from nightlab.experiments.schema import Config, Serving
from nightlab.files import sha256_json

POWER = "power.json"
UNCORRECTED = "report"  # what old locks say of `multiplicity`; those that are still older say nothing, and mean it


@dataclass(frozen=True)
class Frozen:
    """A frozen plan: its hash, its lock file and how many cells it has."""

    sha256: str
    path: Path
    cells: int


def freeze(plan: Plan) -> Frozen:
    """Fix a plan; one that is fixed already stays as it is.

    Raises FrozenError where it changed since, PlanError, AdapterError, AmplificationError or RubricError where it
    cannot run.
    """
    if read_lock(plan.folder) is not None:
        return verify(plan)
    error = first_error(check(plan))
    if error:
        raise error
    lock = write_lock(plan.folder, document(plan, treatments(plan)), plan.serving.declared())
    return Frozen(lock.sha256, plan.folder / LOCK, lock.document["cells"]["count"])


def lacks_power(folder: Path) -> bool:
    """Whether the power of a plan is still to be simulated: before its data, and not more than once."""
    return not ((folder / POWER).exists() or (folder / SAMPLES).exists())


def verify(plan: Plan) -> Frozen:
    """The lock of a plan that is still what was frozen. Raises FrozenError where it is not, or was never frozen."""
    lock = read_lock(plan.folder)
    if lock is None:
        raise FrozenError(
            "the plan is not frozen", where=plan.folder, hint="freeze it first: its hash comes before its data"
        )
    changed = deviations(plan)
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise FrozenError(
            f"the plan changed after it was frozen: {changed[0]}{more}", where=plan.folder, hint=_way_out(plan)
        )
    return Frozen(lock.sha256, plan.folder / LOCK, lock.document["cells"]["count"])


def _way_out(plan: Plan) -> str:
    samples = plan.folder / SAMPLES
    if samples.exists() and samples.stat().st_size:
        return "samples were taken under the frozen plan: undo the change, or make a new experiment folder"
    return f"no sample was taken yet: undo the change, or remove {LOCK} and freeze again"


def deviations(plan: Plan) -> list[str]:
    """What differs between a plan and its lock, one text for each key; weights that are not here are not compared."""
    lock = read_lock(plan.folder)
    if lock is None:
        return []
    now = document(plan, _present(plan, lock.treatments)) | {"plan": plan_now(plan, lock)}
    causes = [part for part in now if part != "cells"]  # the cells follow from the rest
    before = lock.document | {"plan": frozen_plan(lock.document)}
    found = [text for part in causes for text in differences(before.get(part), now[part], part)]
    return found or list(differences(lock.document.get("cells"), now["cells"], "cells"))


def frozen_config(document: Mapping[str, Any]) -> Config:
    """The frozen configuration: settings that came later have the values that the plan ran with then.

    These are their defaults, but for `multiplicity`: nothing was corrected before it came. Raises ValidationError.
    """
    return Config.model_validate({"multiplicity": UNCORRECTED, **document["plan"]})


def frozen_plan(document: dict[str, Any]) -> dict[str, Any]:
    """The frozen configuration in today's form."""
    try:
        return frozen_config(document).frozen()
    except ValidationError:
        return dict(document["plan"])


def plan_now(plan: Plan, lock: Lock) -> dict[str, Any]:
    """Today's configuration, to be compared with the frozen one.

    `multiplicity` did not exist once, then had another default (`report`): a plan that never said anything of it did
    not change.
    """
    now = plan.config.frozen()
    said = lock.document["plan"].get("multiplicity", UNCORRECTED)
    if said == UNCORRECTED and "multiplicity" not in plan.config.model_fields_set:
        now["multiplicity"] = frozen_plan(lock.document)["multiplicity"]
    return now


def frozen_serving(lock: Lock) -> dict[str, Any] | None:
    """What a plan declared of serving when it was frozen, in today's form; None where that was not kept."""
    if lock.serving is None:
        return None
    try:
        return Serving.model_validate(lock.serving).declared()
    except ValidationError:
        return dict(lock.serving)


def document(plan: Plan, treated: Treatments) -> dict[str, Any]:
    """All of a plan that its hash covers, as a JSON value."""
    cells = product(plan, treated)
    return {
        "v": 1,
        "experiment": plan.name,
        "plan": plan.config.frozen(),
        "prompts": {p.name: {"category": p.category, "mode": p.mode, **p.content} for p in plan.prompts},
        "rubric": rubric_sha256(plan.rubric),
        "treatments": treated.document(),
        "cells": {"count": len(cells), "sha256": sha256_json(list(cells.keys()))},
    }


def _present(plan: Plan, frozen: Treatments) -> Treatments:
    """The identities as they are now; the frozen ones for what is not on this machine."""
    models: dict[str, ModelIdentity] = {}
    adapters: dict[str, dict[str, str | None]] = {}
    for model in plan.models:
        before = frozen.models.get(model.name)
        try:
            models[model.name] = model_identity(plan, model)
        except PlanError:
            weights = before.weights if before else None
            models[model.name] = ModelIdentity(model.id, model.revision, weights)
        adapters[model.name] = {}
        for condition in plan.conditions:
            try:
                sha = adapter_identity(plan, model, condition)
            except (AdapterError, PlanError):
                sha = frozen.adapters.get(model.name, {}).get(condition.name)
            adapters[model.name][condition.name] = sha
    return Treatments(models, adapters)


def differences(old: object, new: object, path: str) -> Iterator[str]:
    """What differs between two JSON values, one text for each key."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            at = f"{path}.{key}" if path else str(key)
            if key not in new:
                yield f"{at} was removed"
            elif key not in old:
                yield f"{at} was added"
            else:
                yield from differences(old[key], new[key], at)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{number}]")
    elif old != new:
        yield f"{path} was {_short(old)}, is {_short(new)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

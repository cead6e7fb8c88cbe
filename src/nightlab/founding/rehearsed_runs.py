"""A plan of `kind: run` made rehearsable: a few points of its grid, practice models, and troubles around its command.

A model is what the command is given by `--model`. A command of another kind runs as it stands, for a minute at most:
what its own code trains or asks cannot be replaced from outside.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nightlab import practice
from nightlab.errors import PlanError
from nightlab.experiments.plan import CONFIG
from nightlab.files import read_yaml, write_atomic
from nightlab.founding.stage import Rehearsal, copy_own, new_root, not_rehearsable, opened, start
from nightlab.founding.stand_ins import NEAREST, StandIn, family, said
from nightlab.founding.troubles import RUN_TROUBLES, RUN_USUAL, Staged, chosen
from nightlab.lab import Lab
from nightlab.runs.plan import Params, RunConfig, RunPlan, spelled

MOST_RUNS = 12
SECONDS = 60.0
STEPS = 4
FLAG = "--model"
PARTS = ("report.md.j2",)


def prepare_runs(lab: Lab, experiment: str, faults: str | None, target: Path | None = None) -> Rehearsal:
    """Copy what an experiment of `kind: run` needs into a lab of its own, made rehearsable.

    Raises UsageError, PlanError.
    """
    plan = RunPlan.load(lab.experiment(experiment))
    names = chosen(faults, RUN_TROUBLES, RUN_USUAL)
    root = new_root(target)
    inputs = [folder / name for name in plan.config.inputs for folder in (plan.folder, plan.root)]
    copy_own(lab, root, [*(plan.folder / part for part in PARTS), *inputs])
    folder = root / "experiments" / plan.name
    content, notes = _smaller(plan)
    standing = _models(content)
    notes = [*(said(one) for one in standing), *notes]
    if not standing:
        notes.append(f"the command names no model by {FLAG}: it runs as it stands")
    staging = _stage(content, names, standing, folder)
    if len(staging) < len(names):
        left = ", ".join(names[len(staging) :])
        notes.append(f"not staged, since the rehearsal has too few runs: {left}")
    write_atomic(folder / CONFIG, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    start(root, plan.name, plan.question)
    made = opened(root, containment=lab.config.containment)
    try:
        RunPlan.load(folder)
    except PlanError as error:
        raise not_rehearsable(error) from error
    return Rehearsal(made, plan.name, tuple(standing), tuple(staging), tuple(notes))


def _smaller(plan: RunPlan) -> tuple[dict[str, Any], list[str]]:
    """The config.yaml with a few points of the grid, little time and no GPU, and what that leaves out."""
    content: dict[str, Any] = read_yaml(plan.folder / CONFIG, PlanError)
    config, notes = plan.config, []
    for name, levels in config.parameters.items():
        kept = [level for level in levels if level in {levels[0], levels[-1], *_named(config, name)}]
        content["parameters"][name] = kept
        if len(kept) < len(levels):
            notes.append(f"{len(kept)} of {len(levels)} levels of {name}: the first, the last, and those predicted")
    points = 1
    for levels in content["parameters"].values():
        points *= len(levels)
    if config.replicates > 1 and points * config.replicates > MOST_RUNS:
        content["replicates"] = max(1, MOST_RUNS // points)
        notes.append(f"{content['replicates']} replicates of {config.replicates}: too few to decide anything")
    if config.search is not None:
        content["search"] |= {"repeats": 3, "rounds": 1}
        notes.append("a search of one round, its baseline repeated three times")
    if config.timeout_seconds > SECONDS:
        content["timeout_seconds"] = SECONDS
        notes.append(f"at most {SECONDS:g} s for each run, not {config.timeout_seconds:g}")
    if content.pop("gpus", 0):
        notes.append("no GPU")
    if config.command[:2] == ["nightlab", "train"]:
        content["command"] = [*config.command, f"--steps={STEPS}"]
        notes.append(f"trainings of {STEPS} steps")
    return content, notes


def _named(config: RunConfig, parameter: str) -> Iterator[Any]:
    """The levels of a parameter that the plan speaks of."""
    sides: list[Params] = [side for h in config.hypotheses for side in (h.prediction.left, h.prediction.right)]
    for point in [*sides, *([config.search.baseline] if config.search else [])]:
        if parameter in point:
            yield point[parameter]


def _models(content: Mapping[str, Any]) -> list[StandIn]:
    """A practice model for every model that the command names by --model, itself or by a parameter."""
    words = [str(word) for word in content["command"]]
    named = [word.removeprefix(f"{FLAG}=") for word in words if word.startswith(f"{FLAG}=")]
    named += [after for word, after in itertools.pairwise(words) if word == FLAG]
    found: dict[str, StandIn] = {}
    for name in named:
        by_parameter = content["parameters"].get(name[1:-1]) if name.startswith("{") else None
        for one in by_parameter or [name]:
            found[str(one)] = _stand_in(str(one))
    return list(found.values())


def _stand_in(named: str) -> StandIn:
    if named.startswith(practice.SCHEME):
        name = named.removeprefix(practice.SCHEME).partition("/")[0]
        return StandIn(named, practice.model_id(name), name, same_family=True)
    folder = Path(named).expanduser()
    name_ = family(named, folder if folder.is_dir() else None)
    return StandIn(named, named, name_ or NEAREST, name_ is not None)


def _place(one: StandIn) -> str:
    return f"{practice.SCHEME}{one.practice}"


def _stage(content: dict[str, Any], names: Sequence[str], standing: Sequence[StandIn], folder: Path) -> list[Staged]:
    """Put stand-ins and troubles before the command, each trouble at a run of its own; which runs they meet."""
    config = RunConfig.model_validate(content)
    runs = _runs(RunPlan(folder, folder, config))[-len(names) :] if names else []
    staging = [Staged(name, run, RUN_TROUBLES[name].about) for name, run in zip(names, runs, strict=False)]
    which = ",".join([*(f"{{{name}}}" for name in config.parameters), "{replicate}"])
    stages = [f"--stage={one.model}={one.name}" for one in staging]  # glued: a value may begin with a minus
    ours = {"nightlab": [sys.executable, "-P", "-m", "nightlab"], "python": [sys.executable]}
    first, *rest = content["command"]
    plays = [f"--play={one.model}={_place(one)}" for one in standing]
    staged_run = ["python", "-P", "-m", "nightlab.runs.staged", f"--run={which}", *stages, *plays, "--"]
    content["command"] = [*staged_run, *ours.get(first, [first]), *rest]
    return staging


def _runs(plan: RunPlan) -> list[str]:
    """The runs that are sure to be made, but for one, as the staged command names them."""
    config = plan.config
    if config.search is None:
        return [_name(cell.params, cell.replicate) for cell in plan.grid({})[1:]]
    start_at = {name: config.search.baseline[name] for name in config.parameters}
    steps = [
        {**start_at, name: level}
        for name, levels in config.parameters.items()
        for level in levels
        if level != start_at[name]
    ]
    return [_name(start_at, config.search.repeats - 1), *(_name(step, 0) for step in steps[:1])]


def _name(params: Mapping[str, Any], replicate: int) -> str:
    return ",".join([*(spelled(value) for value in params.values()), str(replicate)])

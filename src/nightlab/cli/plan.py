"""`nightlab plan`: whether a plan can run, and whether it can decide its question."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nightlab.cli.session import Session, json_option, print_json

if TYPE_CHECKING:
    from nightlab.lab import Lab


@click.group()
def plan() -> None:
    """Look at the plan of an experiment."""


@plan.command("check")
@click.argument("experiment")
@click.option(
    "--trials", type=click.IntRange(10, 2000), default=60, show_default=True, help="Simulations of each case."
)
@json_option
@click.pass_obj
def check_plan(session: Session, experiment: str, trials: int, as_json: bool) -> None:
    """Check that the plan of EXPERIMENT can run, and simulate whether it can decide its hypotheses.

    Each prediction must be able to come out either way. The power is the share of simulated experiments that decide it
    at the expected effect (`expected:` in the plan); of runs, the difference that they see above their noise is said.
    Exit code 1 where the plan cannot run or decide something.
    """
    from nightlab.evidence.power import simulate_power, verdict_on_plan
    from nightlab.experiments.check import check
    from nightlab.experiments.plan import Plan
    from nightlab.night.blindness import check_blindness
    from nightlab.runs.plan import kind_of

    lab = session.lab()
    if kind_of(lab.experiment(experiment)) == "run":
        _check_runs(lab, experiment, as_json)
    found = Plan.load(lab.experiment(experiment))
    problems = [*check(found), *check_blindness(found)]
    broken = any(problem.code in ("rubric_missing", "rubric_broken") for problem in problems)
    powers = [] if broken else simulate_power(found, trials)
    verdict = verdict_on_plan(powers)
    if as_json:
        document: dict[str, Any] = {"experiment": found.name, "problems": [asdict(problem) for problem in problems]}
        print_json(document | {"verdict": verdict, "power": [asdict(p) | {"said": p.sentence()} for p in powers]})
    else:
        lines = [f"{problem.level}: {problem.what}" for problem in problems] or ["the plan can run"]
        click.echo("\n".join([f"{found.name}: {found.question}", *lines, *(p.sentence() for p in powers), verdict]))
    failed = any(problem.level == "error" for problem in problems) or not all(p.decides for p in powers)
    raise SystemExit(1 if failed else 0)


def _check_runs(lab: Lab, experiment: str, as_json: bool) -> NoReturn:
    """The same of a plan of `kind: run`. Raises PlanError, UsageError where it cannot run."""
    from nightlab.compute import open_place
    from nightlab.evidence.run_power import power_of_runs, verdict_on_runs
    from nightlab.runs.plan import RunPlan
    from nightlab.runs.starting import check_gpus

    found = RunPlan.load(lab.experiment(experiment))
    _ = found.inputs  # every one is there, or this says which is not
    check_gpus(lab, found, open_place(lab))
    powers = power_of_runs(found.config)
    verdict = verdict_on_runs(powers)
    if as_json:
        told = [power.document() for power in powers]
        print_json({"experiment": found.name, "problems": [], "verdict": verdict, "power": told})
    else:
        lines = [f"{found.name}: {found.question}", "the plan can run", *(p.sentence() for p in powers), verdict]
        click.echo("\n".join(lines))
    raise SystemExit(0 if all(power.decides for power in powers) else 1)

"""`nightlab plan`: whether a plan can run, and whether it can decide its question."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from nightlab.cli.session import Session, json_option, print_json


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
    at the expected effect (`expected:` in the plan). Exit code 1 where the plan cannot run or decide something.
    """
    from nightlab.evidence.power import simulate_power, verdict_on_plan
    from nightlab.experiments.check import check
    from nightlab.experiments.plan import Plan

    found = Plan.load(session.lab().experiment(experiment))
    problems = check(found)
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

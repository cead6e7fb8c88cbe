"""`nightlab judge`: the samples of one experiment that have no judgment yet, scored blind."""

from __future__ import annotations

import asyncio

import click

from nightlab.cli.session import Session


@click.command()
@click.argument("experiment")
@click.pass_obj
def judge(session: Session, experiment: str) -> None:
    """Score every sample of EXPERIMENT that its judge has not scored yet.

    Exit code 1 where judgments are still missing in the end.
    """
    from nightlab.experiments.plan import Plan
    from nightlab.experiments.samples import Samples
    from nightlab.judging.run import run_judges
    from nightlab.night.works import judge_of

    lab = session.lab()
    plan = Plan.load(lab.experiment(experiment))
    chosen = judge_of(plan)
    result = asyncio.run(run_judges(plan, Samples(plan.folder), chosen, plan.folder))
    click.echo(
        f"{plan.name}: {result.judged} judged by {chosen.name}, {result.na} of them not available in part, "
        f"{result.missing} missing of {result.planned}"
    )
    raise SystemExit(1 if result.missing else 0)

"""`nightlab judge`: the samples of one experiment that have no judgment yet, scored blind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from nightlab.cli.session import Session

if TYPE_CHECKING:
    from nightlab.evidence.looking import Looked
    from nightlab.experiments.plan import Plan
    from nightlab.judging.pilot import Pilot
    from nightlab.judging.run import JudgeResult
    from nightlab.judging.work import Seat
    from nightlab.lab import Lab


@click.command()
@click.argument("experiment")
@click.option("--dry-run", is_flag=True, help="Only say what would be judged, by whom, and the most it may cost.")
@click.option("--transport", type=click.Choice(["auto", "batch", "calls"]), help="In place of the plan's.")
@click.option("--usd", type=click.FloatRange(min=0), help="The most that may be spent; else the setting budget_usd.")
@click.option("--again", is_flag=True, help="Ask once more for what was given up or stopped.")
@click.option("--yes", is_flag=True, help="Go on after the pilot without asking.")
@click.pass_obj
def judge(
    session: Session, experiment: str, dry_run: bool, transport: str | None, usd: float | None, again: bool, yes: bool
) -> None:
    """Score every sample of EXPERIMENT that its judges have not scored yet.

    Exit code 1 where judgments are still missing in the end.
    """
    from nightlab.experiments.plan import Plan
    from nightlab.night.reporting import look_at

    lab = session.lab()
    plan = Plan.load(lab.experiment(experiment))
    limit = lab.config.budget_usd if usd is None else usd
    missing = asyncio.run(_judge(lab, plan, transport, limit, dry_run=dry_run, again=again, yes=yes))
    if not dry_run and (looked := look_at(lab, plan.name)):
        _say_look(looked)
    raise SystemExit(1 if missing and not dry_run else 0)


async def _judge(
    lab: Lab, plan: Plan, transport: str | None, usd: float, *, dry_run: bool, again: bool, yes: bool
) -> int:
    """Judge by each judge of the plan; how many judgments are missing in the end."""
    from nightlab.budget import Budget, Limits
    from nightlab.night.judges import judged, open_seats

    left = 0
    budget = Budget(lab.cache / "judging" / f"{plan.name}.jsonl", Limits())
    budget.change(Limits(usd=budget.spent().usd + usd))
    async with open_seats(lab, plan, budget, transport=transport) as seats:
        for seat in seats:
            missing = _quote(plan, seat)
            if not dry_run:
                result = await judged(plan, seat, gate=None if yes else _ask, again=again)
                missing = result.missing
                _tell(plan, seat, result)
            left += missing
    budget.close()
    return left


def _quote(plan: Plan, seat: Seat) -> int:
    """Say what is missing and the most it may cost; how much is missing."""
    from nightlab.judging.quote import quote

    found = quote(plan, seat)
    name = seat.judge.name
    known = f", {found.known} known items among them" if found.known else ""
    most = "an unknown price" if found.usd is None else f"at most ${found.usd:.4f}"
    cost = f"; {most}" if seat.judge.audited else ""
    click.echo(f"{plan.name}: {found.missing} of {found.planned} judgments by {name} are missing{known}{cost}")
    return found.missing


async def _ask(pilot: Pilot) -> bool:
    """Show the pilot; a person at a terminal decides, and without one the judging goes on."""
    import sys

    click.echo(pilot.sentence())
    for stratum in pilot.strata:
        click.echo(f"  {stratum.model}  {stratum.condition}  n={stratum.n}" + (f"  NA={stratum.na}" * bool(stratum.na)))
    for name, mean in pilot.means.items():
        click.echo(f"  mean of {name} over all strata: {'NA' if mean is None else f'{mean:g}'}")
    if not sys.stdin.isatty():
        return True
    return await asyncio.to_thread(click.confirm, "Judge the rest?", default=True)


def _tell(plan: Plan, seat: Seat, result: JudgeResult) -> None:
    click.echo(
        f"{plan.name}: {result.judged} judged by {seat.judge.name}, {result.na} of them not available in part, "
        f"{result.missing} missing of {result.planned}" + (f"; ${result.usd:.4f}" if seat.judge.audited else "")
    )
    if result.refused or result.repaired:
        click.echo(f"  {result.refused} refused, {result.repaired} valid only after a repair")
    for why in result.rejected:
        click.echo(f"  a batch was rejected: {why}")
    if result.stopped:
        click.echo(f"  it stopped: {result.stopped}; `nightlab judge {plan.name} --again` asks once more")


def _say_look(looked: Looked) -> None:
    said = ", ".join(f"{name} {verdict}" for name, verdict in looked.look.verdicts.items())
    count = sum(looked.more.values())
    more = f"{count} more cells are called for: sweep again" if count else "No more is called for"
    click.echo(f"Look {looked.look.number} of {looked.look.of}: {said}. {more}; saved so far {looked.saving:.0%}.")

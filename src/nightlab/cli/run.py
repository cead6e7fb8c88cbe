"""`nightlab run`: one unattended night, shown while it runs, and its brief at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nightlab.cli.session import Session, columns

if TYPE_CHECKING:
    from nightlab.night import Result

NEEDS_YOU = 3


@click.command()
@click.option("--until", metavar="HH:MM", help="End at this local time.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="End after so many hours.")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Spend at most so many dollars.")
@click.option("--gpu-hours", type=click.FloatRange(min=0), help="Use at most so many GPU hours.")
@click.option("--turns", type=click.IntRange(min=1), help="Take at most so many turns.")
@click.option("--plain", is_flag=True, help="One line per event, also on a terminal.")
@click.pass_obj
def run(
    session: Session,
    until: str | None,
    hours: float | None,
    budget: float | None,
    gpu_hours: float | None,
    turns: int | None,
    plain: bool,
) -> None:
    """Run a night on this lab, or go on with one that was cut off: the same command again resumes it.

    Exit codes: 0 finished, 1 failed, 2 wrong usage, 3 it needs you, 4 not set up.
    """
    from nightlab.cli.live import shown
    from nightlab.morning.brief import brief_of, write_brief
    from nightlab.night import Options, run_night
    from nightlab.night.launch import preflight

    lab = session.lab({"turns": turns})
    options = Options(until=until, hours=hours, budget=budget, gpu_hours=gpu_hours, brief=write_brief)
    preflight(lab, options)
    with shown(plain=plain) as watch:
        result = run_night(lab, options, on_event=watch)
    click.echo(brief_of(lab).text(columns()))
    raise SystemExit(exit_code(result))


def exit_code(result: Result) -> int:
    """What a night's end means to a shell: 0 fine, 1 failed, 3 it needs a person."""
    if result.state == "failed":
        return 1
    return NEEDS_YOU if result.needs_you or result.state == "stopped" else 0

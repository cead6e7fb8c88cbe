"""`nightlab run`: one unattended night under a supervisor, shown while it runs, and its brief at the end."""

from __future__ import annotations

import click

from nightlab.cli.ending import BRIEF, exit_code
from nightlab.cli.session import Session, columns


@click.command()
@click.option("--until", metavar="HH:MM", help="End at this local time.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="End after so many hours.")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Spend at most so many dollars.")
@click.option("--gpu-hours", type=click.FloatRange(min=0), help="Use at most so many GPU hours.")
@click.option("--turns", type=click.IntRange(min=1), help="Take at most so many turns.")
@click.option("--brain-from", metavar="MODULE:FUNCTION", help="Take the brain that this function makes, for tests.")
@click.option("--detach", is_flag=True, help="Print one JSON record when the night is up, and leave it running.")
@click.option("--plain", is_flag=True, help="One line per event, also on a terminal.")
@click.pass_obj
def run(
    session: Session,
    until: str | None,
    hours: float | None,
    budget: float | None,
    gpu_hours: float | None,
    turns: int | None,
    brain_from: str | None,
    detach: bool,
    plain: bool,
) -> None:
    """Run a night on this lab, or go on with one that was cut off: the same command again resumes it.

    A supervisor restarts the night's process when it dies or hangs, keeps the deadline, and wraps up. SIGTERM, SIGHUP
    and Ctrl-C let the night finish its step and wrap up; a second one cancels its step.

    Exit codes: 0 finished, 1 failed, 2 wrong usage, 3 it needs you, 4 not set up. With --detach: 0 it runs, else
    nothing does.
    """
    from nightlab.cli.live import shown
    from nightlab.morning.brief import brief_of
    from nightlab.night import Options, preflight
    from nightlab.night.launching import run_supervised

    flags = {"turns": turns}
    lab = session.lab(flags)
    options = Options(until=until, hours=hours, budget=budget, gpu_hours=gpu_hours)
    preflight(lab, options)
    if detach:
        from nightlab.cli.detached import detached

        detached(lab, options, flags, brain_from)
        return
    with shown(plain=plain) as watch:
        result = run_supervised(lab, options, brief=BRIEF, brain=brain_from, flags=flags, on_event=watch)
    click.echo(brief_of(lab).text(columns()))
    raise SystemExit(exit_code(result))

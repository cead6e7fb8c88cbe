"""`nightlab demo`: a whole night in a minute, on three tiny real models, with two staged troubles."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nightlab.cli.session import columns, json_option, print_json


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), help="The sampling seed of the experiment.")
@json_option
def demo(folder: Path | None, seed: int | None, as_json: bool) -> None:
    """Make a demo lab in DIR (default: demo-lab) and run a night in it: no key, no GPU, no network."""
    from nightlab import founding
    from nightlab.cli.live import shown
    from nightlab.morning.brief import brief_of, write_brief
    from nightlab.night import Options, run_night
    from nightlab.night.launch import preflight

    made = founding.demo(folder, seed)
    click.echo(f"The demo lab is {made.lab.root}. It stages two troubles:", err=as_json)
    for trouble in made.troubles:
        click.echo(f"  - {trouble}", err=as_json)
    options = Options(brief=write_brief)
    with founding.held(made.port), shown(err=as_json) as watch:
        preflight(made.lab, options)
        result = run_night(made.lab, options, on_event=watch)
    if as_json:
        ended = {"night": result.night, "seconds": round(result.seconds, 1), "usd": result.usd}
        print_json({**founding.summary(made.lab, made.experiment), "questions": result.needs_you, **ended})
    else:
        click.echo(brief_of(made.lab).text(columns()))
        asked = "It asked you something. " if result.needs_you else ""
        click.echo(f"\n{asked}Try:  cd {os.path.relpath(made.lab.root)} && nightlab inbox")
    raise SystemExit(0 if result.state == "finished" else 1)

"""`nightlab brief`: one screen about the last night."""

from __future__ import annotations

import click

from nightlab.cli.session import Session, columns, json_option, known_night, print_json


@click.command()
@click.option("--night", metavar="NAME", help="Another night than the newest.")
@json_option
@click.pass_context
def brief(context: click.Context, night: str | None = None, as_json: bool = False) -> None:
    """Say in at most 25 lines what the last night did, what it found, and what it needs from you."""
    from nightlab.morning.brief import brief_of

    session: Session = context.obj
    lab = session.lab()
    told = brief_of(lab, known_night(lab, night))
    if as_json:
        print_json(told.data())
    else:
        click.echo(told.text(columns()))

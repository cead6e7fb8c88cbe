"""`nightlab reproduce`: an experiment's tables and figures again, from its rows alone."""

from __future__ import annotations

import click

from nightlab.cli.session import Session


@click.command()
@click.argument("experiment")
@click.pass_obj
def reproduce(session: Session, experiment: str) -> None:
    """Rebuild every table and figure of EXPERIMENT from its rows: no model, no GPU."""
    from nightlab.evidence import rebuild

    lab = session.lab()
    folder = lab.experiment(experiment)
    changed = rebuild(folder)
    for path in changed:
        click.echo(f"changed: {lab.relative(path)}")
    if not changed:
        click.echo(f"{lab.relative(folder)}: everything is as it was")

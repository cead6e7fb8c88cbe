"""`nightlab resume`: the running night takes turns again."""

from __future__ import annotations

import click

from nightlab.cli.orders import by_option, give
from nightlab.cli.session import Session


@click.command()
@by_option
@click.pass_obj
def resume(session: Session, by: str | None) -> None:
    """Let a paused night take turns again."""
    give(session, "resume", by)

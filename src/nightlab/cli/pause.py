"""`nightlab pause`: the running night takes no further turn."""

from __future__ import annotations

import click

from nightlab.cli.orders import by_option, give
from nightlab.cli.session import Session


@click.command()
@by_option
@click.pass_obj
def pause(session: Session, by: str | None) -> None:
    """Take no further turn; work under way goes on. `nightlab resume` ends the pause."""
    give(session, "pause", by)

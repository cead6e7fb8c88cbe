"""`nightlab stop`: the running night ends and wraps up."""

from __future__ import annotations

import click

from nightlab.cli.orders import by_option, give
from nightlab.cli.session import Session


@click.command()
@click.option("--now", is_flag=True, help="Cancel the tools and waits under way, too.")
@by_option
@click.pass_obj
def stop(session: Session, now: bool, by: str | None) -> None:
    """Let the running night finish its step and wrap up: report, diary, commit, servers stopped, brief."""
    give(session, "stop", by, now=now)

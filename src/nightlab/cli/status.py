"""`nightlab status`: whether the last night is alive, stuck, over or dead, from files alone."""

from __future__ import annotations

from typing import Any

import click

from nightlab.cli.session import Session, json_option, print_json
from nightlab.lab import Lab

GOING = ("running", "waiting", "dead")


@click.command()
@json_option
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Say whether a night runs, what it does and for how long; works from another terminal."""
    from nightlab.morning.night import when

    lab = session.lab()
    now = status_of(lab)
    if as_json:
        print_json(now)
    elif now["night"] is None:
        click.echo("No night yet. `nightlab run` starts one.")
    else:
        doing = f": {now['doing']}" if now["doing"] else ""
        since = "since" if now["state"] in GOING else "at"
        click.echo(f"{now['night']}  {now['state']} {since} {when(now['since'], '%H:%M on %d %b')}{doing}")
        click.echo(f"{now['cost']}  servers running: {now['servers']}  questions: {now['questions']}")


def status_of(lab: Lab) -> dict[str, Any]:
    """The state of the newest night as plain values."""
    from nightlab.morning.brief import brief_of
    from nightlab.morning.text import duration

    told = brief_of(lab)
    return {
        "lab": str(lab.root),
        "night": told.night,
        "state": told.state,
        "since": told.since,
        "doing": told.doing,
        "reason": told.reason,
        "seconds": told.seconds,
        "usd": told.usd,
        "cost": f"{duration(told.seconds)}  ${told.usd:.2f}",
        "servers": told.servers,
        "questions": len(told.questions),
    }

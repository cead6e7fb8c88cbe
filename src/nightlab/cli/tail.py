"""`nightlab tail`: what happened in the last night, one line per event."""

from __future__ import annotations

import time

import click

from nightlab.cli.session import Session, known_night

PAUSE = 0.5


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until the night is over.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=20, show_default=True, help="How many, at first.")
@click.option("--night", metavar="NAME", help="Another night than the newest.")
@click.option("--json", "as_json", is_flag=True, help="The events themselves, one JSON object on each line.")
@click.pass_obj
def tail(session: Session, follow: bool, lines: int, night: str | None, as_json: bool) -> None:
    """Print the last events of a night; with -f also those to come, until it ends."""
    import json

    from nightlab.cli.lines import event_line
    from nightlab.errors import UsageError
    from nightlab.events import EventLog

    lab = session.lab()
    name = known_night(lab, night)
    if name is None:
        raise UsageError("no night yet", where=lab.root, hint="`nightlab run` starts one")
    log = EventLog(lab.night(name))
    events, offset = log.tail(0)
    over = False
    shown = events[-lines:] if lines else []
    while True:
        for event in shown:
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else event_line(event))
        over = _over(events, over)
        if not follow or over or not _alive(session, name):
            return
        time.sleep(PAUSE)
        events, offset = log.tail(offset)
        shown = events


def _over(events: list[dict[str, object]], before: bool) -> bool:
    """Whether the night has ended, and was not resumed since."""
    for event in events:
        if event["kind"] in ("night_ended", "night_resumed"):
            before = event["kind"] == "night_ended"
    return before


def _alive(session: Session, night: str) -> bool:
    from nightlab.night.state import night_state

    return night_state(session.lab(), night).state != "dead"

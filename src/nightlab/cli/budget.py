"""`nightlab budget`: the limits of the running night, shown or changed."""

from __future__ import annotations

import click

from nightlab.cli.orders import by_option, give
from nightlab.cli.session import Session


@click.command()
@click.argument("usd", type=click.FloatRange(min=0), required=False, metavar="[USD]")
@click.option("--until", metavar="HH:MM", help="End at this local time.")
@click.option("--gpu-hours", type=click.FloatRange(min=0), help="Use at most so many GPU hours in all.")
@by_option
@click.pass_obj
def budget(session: Session, usd: float | None, until: str | None, gpu_hours: float | None, by: str | None) -> None:
    """Raise or lower the limits of the running night: USD is what it may spend in all. Without any: show them."""
    from nightlab.night.options import next_time

    fields = {
        "usd": usd,
        "gpu_seconds": None if gpu_hours is None else 3600 * gpu_hours,
        "deadline": None if until is None else next_time(until),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if given:
        give(session, "budget", by, **given)
    else:
        click.echo(_shown(session))


def _shown(session: Session) -> str:
    """What the newest night has used of each limit."""
    from datetime import datetime

    from nightlab.errors import UsageError
    from nightlab.events import EventLog
    from nightlab.morning.night import spent
    from nightlab.night.state import limits_of

    lab = session.lab()
    night = lab.latest_night()
    if night is None:
        raise UsageError("no night yet", where=lab.root, hint="`nightlab run` starts one")
    limits, used = limits_of(EventLog(lab.night(night)).read()), spent(lab, night).spent()
    told = [f"${used.usd:.2f}" + _of(limits.get("usd"), "$")]
    told.append(f"{used.gpu_seconds / 3600:.1f}" + _of(limits.get("gpu_seconds"), "", 3600) + " GPU h")
    if (until := limits.get("deadline")) is not None:
        told.append(f"until {datetime.fromtimestamp(until).astimezone():%H:%M on %d %b}")
    return f"{night}: {', '.join(told)}"


def _of(limit: float | None, sign: str, unit: float = 1) -> str:
    return "" if limit is None else f" of {sign}{limit / unit:g}"

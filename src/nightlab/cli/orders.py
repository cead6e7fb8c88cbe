"""What the commands that steer a running night share: who orders, and one sentence about what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nightlab.cli.session import Session

if TYPE_CHECKING:
    from nightlab.night.control import Kind

F = TypeVar("F", bound=Callable[..., Any])

by_option: Callable[[F], F] = click.option(
    "--by", metavar="NAME", help="Who says so.  [default: the lab's setting `human`]"
)
DONE = {
    "stop": "it finishes its step and wraps up",
    "stop now": "it cancels its step and wraps up",
    "pause": "it takes no further turn; work under way goes on",
    "resume": "it takes turns again",
    "say": "it reads this before its next turn",
    "budget": "its limits change",
}


def give(session: Session, kind: Kind, by: str | None, **fields: Any) -> None:
    """Give an order to the running night and say what follows. Raises UsageError where no night runs."""
    from nightlab.night.control import send

    lab = session.lab()
    night, new = send(lab, kind, by or lab.config.human, **fields)
    what = DONE["stop now" if fields.get("now") else kind]
    click.echo(f"{night}: {what}" if new else f"{night}: nothing new, this was asked for already")

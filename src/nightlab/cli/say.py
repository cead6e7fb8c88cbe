"""`nightlab say`: a person's words to the running night."""

from __future__ import annotations

import click

from nightlab.cli.orders import by_option, give
from nightlab.cli.session import Session


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TEXT")
@by_option
@click.pass_obj
def say(session: Session, words: tuple[str, ...], by: str | None) -> None:
    """Tell the running night something: its agent reads it before its next turn, and the diary keeps it."""
    from nightlab.errors import UsageError
    from nightlab.night.control import LONGEST

    text = " ".join(words).strip()
    if not text:
        raise UsageError("nothing was said", hint='nightlab say "..."')
    if len(text) > LONGEST:
        hint = "write it into a file of the lab, and say which one"
        raise UsageError(f"{len(text)} characters, at most {LONGEST}", hint=hint)
    give(session, "say", by, text=text)

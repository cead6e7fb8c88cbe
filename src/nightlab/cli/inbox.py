"""`nightlab inbox`: the open questions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nightlab.cli.session import Session, columns, json_option, print_json

if TYPE_CHECKING:
    from nightlab.morning.inbox import Question


@click.command()
@json_option
@click.pass_obj
def inbox(session: Session, as_json: bool) -> None:
    """List what the nights asked you and you have not answered; each went on with a default."""
    from nightlab.morning.inbox import open_questions

    questions = open_questions(session.lab())
    if as_json:
        print_json([asdict(question) for question in questions])
        return
    for question in questions:
        click.echo("\n".join(_lines(question, min(columns(), 100))) + "\n")
    click.echo("Answer with: nightlab reply ID TEXT" if questions else "Nothing is waiting for you.")


def _lines(question: Question, width: int) -> list[str]:
    from nightlab.morning.text import wrap

    lines = wrap(question.text, width, first=f"{question.id}  ", rest="    ")
    facts = [
        ("about", question.about),
        ("why", question.why),
        ("options", " | ".join(question.options)),
        ("went on with", question.went_on_with),
    ]
    facts += [("if that is wrong", question.cost_of_wrong), ("asked", f"{question.asked} {question.night}".strip())]
    for name, value in facts:
        if value:
            lines += wrap(f"{name}: {value}", width, first="    ", rest="      ")
    return lines

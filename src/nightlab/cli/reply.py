"""`nightlab reply`: an answer to a question, kept in the diary and in git."""

from __future__ import annotations

import click

from nightlab.cli.session import Session


@click.command()
@click.argument("question", metavar="ID")
@click.argument("words", nargs=-1, required=True, metavar="TEXT")
@click.option("--by", metavar="NAME", help="Who answers.  [default: the lab's setting `human`]")
@click.pass_obj
def reply(session: Session, question: str, words: tuple[str, ...], by: str | None) -> None:
    """Answer the question ID; a running night reads it at its next step, the next night at its start."""
    from nightlab.errors import UsageError
    from nightlab.night.publish import repository
    from nightlab.record.diary import Diary

    lab = session.lab()
    text, who = " ".join(" ".join(words).split()), by or lab.config.human
    if not text:
        raise UsageError("the reply is empty", hint=f'nightlab reply {question} "..."')
    repository(lab).check()
    Diary(lab.diary).add_reply(question, text, who)
    sha = repository(lab).commit([lab.diary], f"Reply to {question}", {"Nightlab-Reply-By": who})
    click.echo(f"{question} is answered in {lab.relative(lab.diary)}" + (f", commit {sha[:10]}" if sha else ""))

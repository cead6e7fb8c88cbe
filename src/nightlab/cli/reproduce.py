"""`nightlab reproduce`: an experiment's tables and figures again, from its rows alone; or its answers again."""

from __future__ import annotations

import click

from nightlab.cli.session import Session


@click.command()
@click.argument("experiment")
@click.option("--resample", is_flag=True, help="Ask the models again, as a new experiment.")
@click.pass_obj
def reproduce(session: Session, experiment: str, resample: bool) -> None:
    """Rebuild every table and figure of EXPERIMENT from its rows: no model, no GPU.

    With --resample its plan is asked, judged and reported once more under a new number, and compared.
    """
    from nightlab.evidence import rebuild

    lab = session.lab()
    folder = lab.experiment(experiment)
    if resample:
        from nightlab.cli.resample import ask_again

        ask_again(session, lab, folder)
        return
    changed = rebuild(folder)
    for path in changed:
        click.echo(f"changed: {lab.relative(path)}")
    if not changed:
        click.echo(f"{lab.relative(folder)}: everything is as it was")

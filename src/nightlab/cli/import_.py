"""`nightlab import`: an existing folder of samples and judgments becomes an experiment, with its rows conserved."""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.session import Session


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--into", "name", required=True, metavar="exp_NNN_slug", help="The experiment to make.")
@click.pass_obj
def import_(session: Session, folder: Path, name: str) -> None:
    """Take over the rows below FOLDER: JSONL, CSV, or the tree by_prompt/PROMPT/CONFIG/MODEL/*.yaml.

    Rows that are neither sample nor judgment are kept in unfit.jsonl with their reasons; nothing is overwritten.
    """
    from nightlab.experiments.taken_over import import_folder

    lab = session.lab()
    made = import_folder(folder, lab.experiments, name)
    click.echo(f"{lab.relative(made.folder)}: {made.sentence()}")
    for why, count in made.reasons.items():
        click.echo(f"  {count} unfit: {why}")
    click.echo("The rows are marked as imported: no canary speaks for them, and no claim is made from them.")

"""`nightlab import`: an existing folder of samples and judgments becomes an experiment, with its rows conserved."""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.session import Session


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--into", "name", required=True, metavar="exp_NNN_slug", help="The experiment to make.")
@click.option("--scores", default="", metavar="COLUMNS", help="Columns of scores whose names do not say so: wit,edge.")
@click.pass_obj
def import_(session: Session, folder: Path, name: str, scores: str) -> None:
    """Take over the rows below FOLDER: JSONL, CSV, or the tree by_prompt/PROMPT/CONFIG/MODEL/*.yaml.

    Scores are columns named `scores`, `score_X` or `X_score`, and in rows that name a sample by its id all columns of
    numbers. Rows that are neither sample nor judgment are kept in unfit.jsonl with their reasons, and columns that mean
    nothing here in their rows; nothing is overwritten.
    """
    from nightlab.experiments.taken_over import import_folder

    lab = session.lab()
    made = import_folder(folder, lab.experiments, name, [column for column in scores.split(",") if column])
    click.echo(f"{lab.relative(made.folder)}: {made.sentence()}")
    for line in made.lines():
        click.echo(f"  {line}")
    click.echo("The rows are marked as imported: no canary speaks for them, and no claim is made from them.")

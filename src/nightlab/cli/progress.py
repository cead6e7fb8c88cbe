"""`nightlab progress`: how far an experiment is, from its files alone, while it runs or after."""

from __future__ import annotations

import json

import click

from nightlab.cli.session import Session


@click.command()
@click.argument("experiment")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def progress(session: Session, experiment: str, as_json: bool) -> None:
    """Say how far EXPERIMENT is: counts, when it ends, which levels lack cells, and whether that is chance."""
    from nightlab.evidence.progress import progress as stand
    from nightlab.experiments.coverage import coverage
    from nightlab.experiments.plan import Plan
    from nightlab.runs.plan import kind_of

    lab = session.lab()
    folder = lab.experiment(experiment)
    found = stand(lab, folder.name)
    if kind_of(folder) == "run" or found.problem:
        click.echo(json.dumps(found.as_data()) if as_json else _short(found.as_data()))
        raise SystemExit(2 if found.problem else 0)
    cover = coverage(Plan.load(folder))
    if as_json:
        click.echo(json.dumps({"experiment": folder.name, **cover.document(), "judged": found.judged}))
        return
    click.echo(f"{folder.name}: {cover.text()}")
    click.echo(f"{found.judged} of {found.judgments_planned} judgments made.")


def _short(data: dict[str, object]) -> str:
    if data["problem"]:
        return str(data["problem"])
    return f"{data['experiment']}: made {data['answered']} of {data['planned']}, missing {data['missing'] or 'none'}"

"""`nightlab audit`: whether reports, diaries, tables and figures say what the data say."""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.session import Session, json_option, print_json

SHOWN = 200


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--quick", is_flag=True, help="Check figures by their hashes; do not draw them again.")
@json_option
@click.pass_obj
def audit(session: Session, path: Path | None, quick: bool, as_json: bool) -> None:
    """Hold a lab, an experiment or any folder of results against its own data. PATH is the lab if not given.

    Nothing is written. Exit code 1 where something is wrong.
    """
    from nightlab.audit.run import audit as run

    report = run(path or session.lab().root, pictures=not quick)
    if as_json:
        print_json(report.document())
    else:
        for found in report.findings[:SHOWN]:
            click.echo(found)
        if len(report.findings) > SHOWN:
            click.echo(f"and {len(report.findings) - SHOWN} more: --json has all of them")
        counts = ", ".join(f"{report.count(level)} {level}s" for level in ("error", "warning", "note"))
        seen = ", ".join(f"{count} {name}" for name, count in report.seen.items())
        click.echo(f"{report.kind}: {counts}. Looked at {seen}.")
        click.echo("It cannot see: " + "; ".join(report.blind) + ".")
    if not report.sound:
        raise SystemExit(1)

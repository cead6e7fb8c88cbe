"""`nightlab where`: which file of the two layers, the lab's own and the shipped one, is used."""

from __future__ import annotations

from dataclasses import asdict

import click

from nightlab.cli.session import Session, json_option, print_json


@click.command()
@click.argument("path", metavar="PATH")
@json_option
@click.pass_obj
def where(session: Session, path: str, as_json: bool) -> None:
    """Say which file is used for PATH, for example tools/start_server.py; for a folder, for each file in it."""
    from nightlab.lab import look_up, look_up_all

    lab = session.lab()
    kind, _, name = path.strip("/").partition("/")
    everything = look_up_all(lab, kind, "**/*")
    inside = {n: found for n, found in everything.items() if not name or n.startswith(f"{name}/")}
    chosen = inside or {name: look_up(lab, kind, name)}
    if as_json:
        print_json({f"{kind}/{n}": asdict(found) for n, found in chosen.items()})
        return
    for n, found in chosen.items():
        click.echo(f"{kind}/{n}  {found.origin}\n    {found.path}  {found.sha256[:16]}")

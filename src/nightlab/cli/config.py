"""`nightlab config`: every setting, its value, and where it comes from."""

from __future__ import annotations

import click

from nightlab.cli.session import Session, columns, json_option, print_json
from nightlab.settings import KEYS


@click.command()
@json_option
@click.pass_obj
def config(session: Session, as_json: bool) -> None:
    """Show every setting of this lab with its value and origin."""
    items = list(session.lab().config.items())
    if as_json:
        print_json({k: {"value": s.shown, "origin": s.origin, "about": KEYS[k].about} for k, s in items})
        return
    for key, setting in items:
        if columns() < 80:
            click.echo(f"{key} = {setting.shown}\n    from {setting.origin}")
        else:
            click.echo(f"{key:24} {setting.shown!s:20} {setting.origin:16} {KEYS[key].about}".rstrip()[: columns()])

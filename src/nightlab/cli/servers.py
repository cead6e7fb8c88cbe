"""`nightlab servers`: which model servers this lab has, and stopping them."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from nightlab.cli.session import Session, json_option, print_json
from nightlab.lab import Lab

ALIVE = ("starting", "ready")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def servers(context: click.Context, as_json: bool) -> None:
    """List the model servers of this lab, or stop them."""
    if context.invoked_subcommand is None:
        context.invoke(list_all, as_json=as_json)


@servers.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@json_option
@click.pass_obj
def list_all(session: Session, everything: bool = False, as_json: bool = False) -> None:
    """List the servers that run (with --all: every one there was)."""
    rows = [row for row in _rows(session.lab()) if everything or row["state"] in ALIVE]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        gone = "" if row["alive"] or row["state"] not in ALIVE else ", but its process is gone"
        click.echo(f"{row['id']}  {row['state']}{gone}" + (f": {row['failure']}" if row["failure"] else ""))
        click.echo(f"    {row['model']}  {row['url'] or 'no address yet'}  night {row['night'] or '-'}")
    if not rows:
        click.echo("No server is running.")


@servers.command()
@click.argument("server", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Stop every server of this lab.")
@click.pass_obj
def stop(session: Session, server: str | None, everything: bool) -> None:
    """Stop the server ID, or with --all every server of this lab."""
    from nightlab.errors import UsageError, nearest

    lab = session.lab()
    known = [row["id"] for row in _rows(lab) if row["state"] in ALIVE]
    if (server is None) != everything:
        raise UsageError("name one server, or say --all", hint=f"running: {', '.join(known) or 'none'}")
    if server is not None and server not in known:
        close = nearest(server, known)
        hint = f"did you mean {close}?" if close else f"running: {', '.join(known) or 'none'}"
        raise UsageError(f"no server {server!r} is running", hint=hint)
    for name in known if everything else [server or ""]:
        _stop(lab, name)
        click.echo(f"stopped {name}")


def _rows(lab: Lab) -> list[dict[str, Any]]:
    from nightlab.compute import open_place
    from nightlab.servers.server import Server, list_servers

    names = ("id", "state", "failure", "model", "model_id", "url", "place", "night", "started")
    rows = []
    for manifest in list_servers(lab):
        alive = manifest.state in ALIVE and Server(lab, open_place(lab, manifest.place), manifest).alive()
        rows.append({name: getattr(manifest, name) for name in names} | {"alive": alive})
    return rows


def _stop(lab: Lab, server: str) -> None:
    from nightlab.compute import open_place
    from nightlab.servers.server import Server

    asyncio.run(Server.attach(lab, open_place(lab), server).stop())

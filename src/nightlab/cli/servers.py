"""`nightlab servers`: which model servers and other jobs of this lab run, and stopping servers."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from nightlab.cli.session import Session, json_option, print_json
from nightlab.lab import Lab

_GRACE = 30.0  # seconds in which a training saves where it stands


@click.group(invoke_without_command=True)
@click.option("--jobs", is_flag=True, help="The jobs that run and are no servers: trainings, runs.")
@json_option
@click.pass_context
def servers(context: click.Context, jobs: bool, as_json: bool) -> None:
    """List the model servers of this lab, or stop them."""
    if context.invoked_subcommand is None:
        context.invoke(list_all, jobs=jobs, as_json=as_json)


@servers.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--jobs", is_flag=True, help="The jobs that run and are no servers: trainings, runs.")
@json_option
@click.pass_obj
def list_all(session: Session, everything: bool = False, jobs: bool = False, as_json: bool = False) -> None:
    """List the servers that run (with --all: every one there was), or with --jobs the other jobs that run."""
    from nightlab.servers.listing import job_rows, server_rows
    from nightlab.servers.manifest import damaged

    lab = session.lab()
    if jobs:
        _show_jobs(job_rows(lab), as_json)
        return
    rows = server_rows(lab, everything=everything)
    for error in damaged(lab):
        click.echo(f"nightlab: left out, {error}", err=True)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        for line in _lines(row):
            click.echo(line)
    if not rows:
        click.echo("No server is running.")
    if others := len(job_rows(lab)):
        click.echo(f"Jobs that run and are no servers: {others} (nightlab servers --jobs)")


@servers.command()
@json_option
@click.pass_obj
def adopt(session: Session, as_json: bool) -> None:
    """Verify the servers that live on: name, command, code, canary. Those that cannot be verified are stopped.

    What a server gave while it ran older code than the disk holds is set aside. A night does the same when it wakes.
    Exit code 1 where one could not be adopted.
    """
    from dataclasses import asdict

    from nightlab.events import EventLog
    from nightlab.night.lock import LabLock
    from nightlab.night.proof import adopt_all

    lab = session.lab()
    lock = LabLock(lab.lock)
    lock.acquire("adopt")
    events = EventLog(lab.cache / "adoptions")
    try:
        found = asyncio.run(adopt_all(lab, events))
    finally:
        events.close()
        lock.release()
    if as_json:
        print_json([asdict(one) for one in found])
    for one in [] if as_json else found:
        since = f" (its answers since {one.since} are set aside)" if one.since else ""
        click.echo(f"{one.server}  {one.outcome}{': ' + one.why if one.why else ''}{since}")
    if not found and not as_json:
        click.echo("No server lives on.")
    raise SystemExit(0 if all(one.outcome == "adopted" for one in found) else 1)


@servers.command()
@click.argument("name", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Stop every server of this lab; other jobs run on.")
@click.pass_obj
def stop(session: Session, name: str | None, everything: bool) -> None:
    """Stop the server ID, or with --all every server of this lab.

    ID may also be another job (a training, a run), by the number or the key that `nightlab servers --jobs` shows.
    """
    from nightlab.errors import UsageError, nearest
    from nightlab.servers.listing import job_rows
    from nightlab.servers.manifest import list_servers

    lab = session.lab()
    known = [manifest.id for manifest in list_servers(lab) if manifest.lives]
    if (name is None) != everything:
        raise UsageError("name one server or job, or say --all", hint=f"running: {', '.join(known) or 'none'}")
    for server in known if everything else [one for one in known if one == name]:
        _stop(lab, server)
        click.echo(f"stopped {server}")
    if everything or name in known:
        return
    jobs = job_rows(lab)
    row = next((row for row in jobs if name in (row["job"], row["key"])), None)
    if row is None:
        others = [*known, *(row["key"] for row in jobs)]
        close = nearest(name or "", others)
        hint = f"did you mean {close}?" if close else f"running: {', '.join(others) or 'none'}"
        raise UsageError(f"no server or job {name!r} is running", hint=hint)
    _stop_job(lab, row)


def _stop_job(lab: Lab, row: dict[str, Any]) -> None:
    """Stop a job that is no server; a night that wants its result may start it again, and that is said."""
    from nightlab.compute import open_place
    from nightlab.morning.text import clean
    from nightlab.night.lock import living_holder

    key = str(row["key"])
    if (job := open_place(lab, str(row["place"])).find(key)) is not None:
        job.stop(_GRACE)
    click.echo(f"stopped {clean(key, 80)}")
    holder = living_holder(lab.lock)
    if holder is not None and holder.night == row["owner"]:
        click.echo(f"The night {row['owner']} goes on and may start it again; `nightlab stop` ends the night.")


def _show_jobs(rows: list[dict[str, Any]], as_json: bool) -> None:
    """The jobs that are no servers, each on three lines: where it runs and whose it is, what it does."""
    from nightlab.morning.text import clean, duration

    if as_json:
        print_json(rows)
        return
    for row in rows:
        age = "not begun" if row["age_seconds"] is None else f"age {duration(row['age_seconds'])}"
        lease = "no lease" if row["lease_seconds"] is None else f"lease {duration(row['lease_seconds'])}"
        gpus = f", {row['gpus']} GPU" if row["gpus"] else ""
        why = f": {clean(row['why'], 80)}" if row["why"] else ""
        click.echo(f"{clean(row['key'], 80)}  {row['process']}{why}")
        click.echo(f"    {row['place']} {row['job'] or '-'}{gpus}, {age}, night {row['owner'] or '-'}, {lease}")
        click.echo(f"    {clean(row['command'], 160)}")
    if not rows:
        click.echo("No other job is running.")


def _lines(row: dict[str, Any]) -> list[str]:
    """A server on two or three lines: how it stands, what it serves and where, what it has used."""
    from nightlab.morning.text import clean, duration

    gone = "" if row["alive"] or row["process"] is None else ", but its process is gone"
    gone = f", {row['process']}" if row["process"] in ("queued", "unreachable") else gone
    why = row["failure"] or row["why"]
    job = f"{row['place']} {row['job']}" if row["place"] != "local" else "local"
    used = f"age {duration(row['age_seconds'])}"
    if row["idle_seconds"] is not None:
        used += f", idle {duration(row['idle_seconds'])}"
    used += f", {row['gpu_hours']:.1f} GPU h" if row["gpus"] else ""
    used += f", start {row['starts']}" if row["starts"] > 1 else ""
    what = f"{len(row['adapters'])} adapted conditions"
    what += "" if row["resident"] is None else f" ({len(row['resident'])} adapters in memory)"
    kept = f", kept until {row['kept_until']}" if row["kept_until"] else ""
    return [
        f"{row['id']}  {row['state']}{gone}" + (f": {clean(why, 80)}" if why else ""),
        f"    {row['model']} ({row['model_id']}), {what}, {row['engine']} on {job}",
        f"    {used}, night {row['night'] or '-'}{kept}, {row['url'] or 'no address yet'}",
    ]


def _stop(lab: Lab, server: str) -> None:
    from nightlab.compute import open_place
    from nightlab.servers.server import Server

    asyncio.run(Server.attach(lab, open_place(lab), server).stop())

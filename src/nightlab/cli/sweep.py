"""`nightlab sweep`: the missing cells of one experiment, asked of servers started for it and stopped after it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import signal
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nightlab.cli.session import Session
from nightlab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nightlab.events import EventLog
    from nightlab.experiments.cells import Cell
    from nightlab.experiments.estimate import Estimate
    from nightlab.experiments.plan import Plan
    from nightlab.experiments.sweep import SweepResult
    from nightlab.servers.server import Server

LEASE_SHARE = 4
OWNER = "sweep-"  # how the names of sweeps begin that own servers
T = TypeVar("T")


@click.command()
@click.argument("experiment")
@click.option("--dry-run", is_flag=True, help="Only say what would be asked, how long it takes and what it costs.")
@click.pass_obj
def sweep(session: Session, experiment: str, dry_run: bool) -> None:
    """Ask every cell of EXPERIMENT that has no answer yet; its plan is frozen before the first one.

    Of an experiment of `kind: run`, do every run that is missing. Exit code 1 where cells are still missing in the
    end.
    """
    from nightlab.runs.plan import kind_of

    lab = session.lab()
    if kind_of(lab.experiment(experiment)) == "run":
        _sweep_runs(lab, experiment, dry_run)
    else:
        _sweep_cells(lab, experiment, dry_run)


def _sweep_cells(lab: Lab, experiment: str, dry_run: bool) -> None:
    from nightlab.experiments.cells import tally
    from nightlab.experiments.check import check, first_error
    from nightlab.experiments.estimate import estimate
    from nightlab.experiments.looks import called_cells
    from nightlab.experiments.plan import Plan
    from nightlab.experiments.samples import Samples

    plan = Plan.load(lab.experiment(experiment))
    problems = check(plan)
    unset = [problem for problem in problems if dry_run and problem.code == "judge_not_set_up"]
    if error := first_error([problem for problem in problems if problem not in unset]):
        raise error
    wanted = called_cells(plan)
    missing = Samples(plan.folder).missing(wanted)
    click.echo(f"{plan.name}: {len(wanted)} cells, {len(wanted) - len(missing)} answered, {len(missing)} missing")
    models = Counter[str]()
    for (model, _), count in tally(missing).items():
        models[model] += count
    if dry_run:
        _say_cost(lab, plan, estimate(plan, missing, lab.config.concurrency), len(wanted))
        for problem in unset:
            click.echo(f"It cannot begin yet: {problem.what}. {problem.hint}")
        _say_frozen(plan.folder)
    elif missing:
        for model, count in models.items():
            click.echo(f"  {model}  {count} missing")
        _freeze(lab, plan.folder)
        _ask(lab, plan, wanted, sorted(models))


def _sweep_runs(lab: Lab, experiment: str, dry_run: bool) -> None:
    from nightlab.compute import open_place
    from nightlab.runs.estimate import estimate_runs
    from nightlab.runs.plan import RunPlan
    from nightlab.runs.runner import run_all
    from nightlab.runs.starting import check_gpus

    plan, place = RunPlan.load(lab.experiment(experiment)), open_place(lab)
    check_gpus(lab, plan, place)
    if dry_run:
        click.echo(estimate_runs(plan))
        _say_frozen(plan.folder)
        return
    _freeze(lab, plan.folder)
    with _events(lab) as events:
        result = asyncio.run(_until_ended(run_all(lab, plan, place, events=events)))
    if error := result.error():
        raise error
    click.echo(f"{result.made} made, {result.failed} failed, {result.missing} missing of {result.planned}")
    raise SystemExit(1 if result.missing else 0)


def _say_cost(lab: Lab, plan: Plan, found: Estimate, answers: int) -> None:
    """The matrix of a sweep, its time, and what it and the judging of so many answers cost."""
    from nightlab.night.cost import gpu_cost, judge_costs

    click.echo(found.text())
    click.echo(gpu_cost(lab, plan, found.servers, found.seconds))
    for cost in judge_costs(lab, plan, answers, found.answer_tokens):
        click.echo(f"Judge: {cost.sentence()}.")
    most = math.prod(found.factors.values())
    if answers < most:
        click.echo(f"The looks may call for up to {most - answers} more cells; they are not counted here.")


def _say_frozen(folder: Path) -> None:
    from nightlab.experiments.lock import read_lock

    click.echo("The plan is frozen." if read_lock(folder) else "The plan is not frozen yet; a sweep freezes it.")


def _freeze(lab: Lab, folder: Path) -> None:
    """Fix the plan and commit its hash before any data; one that is fixed must be unchanged."""
    from nightlab.night.freezing import freeze_experiment
    from nightlab.night.publish import repository

    frozen = freeze_experiment(folder)
    if frozen.power:
        click.echo(f"Power: {frozen.power}")
    repository(lab).commit([folder], frozen.message, {"Nightlab-Plan": frozen.sha256})


@contextlib.contextmanager
def _events(lab: Lab) -> Iterator[EventLog]:
    """The log of one sweep, shown line by line, while this process holds the lab."""
    from nightlab.cli.lines import event_line
    from nightlab.events import EventLog
    from nightlab.night.lock import LabLock

    name = time.strftime(f"{OWNER}%Y%m%d-%H%M%S", time.gmtime())
    lock = LabLock(lab.lock)
    lock.acquire(name)
    events = EventLog(lab.cache / "sweeps" / name)
    events.subscribe(lambda event: click.echo(event_line(event)))
    try:
        yield events
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        events.close()
        lock.release()


async def _until_ended(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; TERM cancels it in order."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _ask(lab: Lab, plan: Plan, wanted: Sequence[Cell], models: list[str]) -> None:
    with _events(lab) as events:
        failed, result = asyncio.run(_until_ended(_run(lab, plan, wanted, models, events)))
    for sentence in failed:
        click.echo(f"nightlab: {sentence}", err=True)
    click.echo(f"{result.answered} answered, {result.failed} failed, {result.missing} missing of {result.planned}")
    raise SystemExit(1 if result.missing or failed else 0)


async def _run(
    lab: Lab, plan: Plan, wanted: Sequence[Cell], models: list[str], events: EventLog
) -> tuple[list[str], SweepResult]:
    """Start, prove, ask, stop: what failed to start, and what became of the cells."""
    from nightlab.experiments.sweep import run_sweep
    from nightlab.night.mending import gone, mend
    from nightlab.night.proof import reload, swept
    from nightlab.night.serving import endpoint_of
    from nightlab.servers.server import stop_all

    # The lab is ours, so a sweep that left servers was killed; twice in a GPU's memory a model does not fit.
    await stop_all(lab, events, owners=OWNER)
    servers: list[Server] = []
    leases = asyncio.create_task(_keep(servers, lab.config.lease_seconds / LEASE_SHARE))
    try:
        for model in models:
            servers.append(await _launch(lab, plan, model, events.path.parent.name))
        proven = await asyncio.gather(*(server.ensure_ready(events) for server in servers), return_exceptions=True)
        failed = [result for result in proven if isinstance(result, BaseException)]
        ready = [result for result in proven if not isinstance(result, BaseException)]
        ways = {server.manifest.id: server.route for server in servers}
        ends = {m.model: replace(endpoint_of(m), url=await ways[m.id]()) for m in ready}
        config = lab.config
        result = await run_sweep(
            plan,
            wanted,
            ends,
            events=events,
            concurrency=config.concurrency,
            timeout=config.request_timeout,
            heal=functools.partial(mend, lab, events),
            reload=functools.partial(reload, lab, events),
            gone=functools.partial(gone, lab),
        )
        proofs = await asyncio.gather(*(swept(lab, events, plan, m.id) for m in ready), return_exceptions=True)
        failed += [error for error in proofs if error is not None]
    finally:
        leases.cancel()
        await asyncio.gather(*(_current(server).stop(events) for server in servers))
    return [_sentence(error) for error in failed], result


def _sentence(error: BaseException) -> str:
    """What kept a server from starting; a defect of ours is raised as it is."""
    from nightlab.errors import NightlabError

    if not isinstance(error, NightlabError):
        raise error
    return str(error)


async def _launch(lab: Lab, plan: Plan, name: str, night: str) -> Server:
    """Start the server of one model, with an adapter for each condition, at the port that the plan gives it."""
    from nightlab.compute import open_place
    from nightlab.night.serving import wanted
    from nightlab.servers.server import Server

    number = [model.name for model in plan.models].index(name)
    port = plan.serving.port + number if plan.serving.port else 0
    want = await asyncio.to_thread(wanted, lab, plan, plan.model(name))
    return await Server.launch(lab, open_place(lab), want, key=f"{plan.name}/{name}", night=night, port=port)


async def _keep(servers: list[Server], seconds: float) -> None:
    """Renew the leases of the servers, so that they end when this process does."""
    while True:
        for server in servers:
            _current(server).renew()
        await asyncio.sleep(seconds)


def _current(server: Server) -> Server:
    """A server as its record says that it stands now: it may have been started again meanwhile."""
    return type(server).attach(server.lab, server.place, server.manifest.id)

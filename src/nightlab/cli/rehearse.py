"""`nightlab rehearse`: a plan played through with practice models and staged troubles, before any GPU is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session, columns, json_option, print_json

if TYPE_CHECKING:
    from nightlab.founding.real_night import RealNight
    from nightlab.founding.rehearsal import Rehearsal
    from nightlab.lab import Lab


@click.command()
@click.argument("experiment", required=False)
@click.option("--faults", metavar="A,B,...", help="Which troubles to stage; none for none.  [default: a usual three]")
@click.option("--list-faults", is_flag=True, help="Say which troubles can be staged.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where the copy of the lab goes.")
@json_option
@click.pass_obj
def rehearse(
    session: Session, experiment: str | None, faults: str | None, list_faults: bool, folder: Path | None, as_json: bool
) -> None:
    """Rehearse EXPERIMENT (default: the first that is open) on this machine: no key, no GPU, no network.

    Its models are played by practice models of the same family, its judge by the embedded one, in a copy of the lab:
    the real experiment is only read. It ends with the same report, marked REHEARSAL, the guards that fired, and an
    estimate of the real night. Exit code 1 where the rehearsed night did not come to its report.
    """
    from nightlab.founding import troubles

    if list_faults:
        click.echo("\n".join(f"{name:<14} {one.about}" for name, one in troubles.TROUBLES.items()))
        return
    from nightlab.cli.live import shown
    from nightlab.experiments.plan import Plan
    from nightlab.founding.real_night import real_night
    from nightlab.founding.rehearsal import guards, mark, prepare
    from nightlab.morning.brief import write_brief
    from nightlab.night import Options, preflight, run_night

    lab = session.lab()
    name = experiment or _first(lab)
    made = prepare(lab, name, troubles.chosen(faults), folder)
    _announce(made, err=as_json)
    options = Options(brief=write_brief)
    with shown(err=as_json) as watch:
        preflight(made.lab, options)
        result = run_night(made.lab, options, on_event=watch)
    report = mark(made)
    fired = guards(made, result.night)
    real = real_night(lab, Plan.load(lab.experiment(name)))
    told = {"lab": str(made.lab.root), "experiment": made.experiment, "rehearsal": True, "state": result.state}
    told |= {"report": str(report) if report else None, "seconds": round(result.seconds, 1)}
    if as_json:
        print_json(told | _document(made, fired, real))
    else:
        click.echo("\n".join(_lines(made, report, fired, real)))
    raise SystemExit(0 if report is not None and result.state == "finished" else 1)


def _first(lab: Lab) -> str:
    """The first experiment of the queue, else the first there is."""
    from nightlab.errors import UsageError
    from nightlab.record.state import ResearchState

    queued = [item.experiment for item in ResearchState(lab.state_file).queue()] if lab.state_file.is_file() else []
    names = [name for name in queued if name in lab.experiment_names()] or lab.experiment_names()
    if not names:
        raise UsageError("there is no experiment to rehearse", where=lab.experiments, hint="write a plan first")
    return names[0]


def _announce(made: Rehearsal, err: bool) -> None:
    click.echo(f"REHEARSAL of {made.experiment} in {made.lab.root}", err=err)
    for note in made.notes:
        click.echo(f"  - {note}", err=err)
    for one in made.staging:
        click.echo(f"  - staged for {one.model}: {one.about}", err=err)


def _document(made: Rehearsal, fired: list[dict[str, Any]], real: RealNight) -> dict[str, Any]:
    return {
        "stand_ins": [vars(one) for one in made.standing],
        "notes": list(made.notes),
        "faults": [vars(one) for one in made.staging],
        "guards": fired,
        "estimate": real.document(),
    }


def _lines(made: Rehearsal, report: Path | None, fired: list[dict[str, Any]], real: RealNight) -> list[str]:
    from nightlab.morning.text import wrap

    width = min(columns(), 100)
    lines = ["", f"REHEARSAL of {made.experiment}", f"  report: {report or 'none: the night did not come to it'}", ""]
    lines.append("Guards that fired")
    for one in fired or [{"guard": "none", "times": 0, "example": "nothing went wrong"}]:
        said = f"{one['guard']}, for example" if one["times"] > 1 else one["guard"]
        lines += wrap(f"{one['times']} x {said}: {one['example']}", width, first="  ", rest="      ")
    usd = "unknown" if real.usd is None else f"{real.usd:.2f} $"
    lines += ["", "The real night, at most"]
    lines.append(
        f"  {real.samples} samples, {real.tokens} tokens, {real.gpu_hours:.2f} GPU-hours, {real.hours:.2f} h, {usd}"
    )
    for line in real.lines:
        lines += wrap(line, width, first="  - ", rest="    ")
    return lines

"""`nightlab rehearse`: a plan played through with practice models and staged troubles, before any GPU is paid for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.session import Session, columns, json_option, print_json

if TYPE_CHECKING:
    from nightlab.founding.plans_judge import Judged
    from nightlab.founding.real_night import RealNight
    from nightlab.founding.stage import Rehearsal
    from nightlab.lab import Lab
    from nightlab.night import Result


@click.command()
@click.argument("experiment", required=False)
@click.option("--faults", metavar="A,B,...", help="Which troubles to stage; none for none.  [default: a usual three]")
@click.option("--list-faults", is_flag=True, help="Say which troubles can be staged.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where the copy of the lab goes.")
@click.option("--real-judge", is_flag=True, help="Let the plan's own judge score three answers in the end; it is paid.")
@click.option("--usd", type=click.FloatRange(min=0), help="The most for --real-judge; else the setting budget_usd.")
@json_option
@click.pass_obj
def rehearse(
    session: Session,
    experiment: str | None,
    faults: str | None,
    list_faults: bool,
    folder: Path | None,
    real_judge: bool,
    usd: float | None,
    as_json: bool,
) -> None:
    """Rehearse EXPERIMENT (default: the first that is open) on this machine: no key, no GPU, no network.

    Its models are played by practice models of the same family, its judge by the embedded one, in a copy of the lab;
    of a grid of commands a few runs are made. The real experiment is only read. It ends with the same report, marked
    REHEARSAL, the guards that fired, and an estimate of the real night. Exit code 1 where the rehearsed night did not
    come to its report, or the plan's own judge gave no valid scores.
    """
    from nightlab.founding import troubles

    if list_faults:
        known = troubles.TROUBLES | troubles.RUN_TROUBLES
        click.echo("\n".join(f"{name:<14} {one.about}" for name, one in known.items()))
        return
    lab = session.lab()
    name = experiment or _first(lab)
    say = partial(click.echo, err=as_json)
    judge = _Judge(lab, name, lab.config.budget_usd if usd is None else usd) if real_judge else None
    if judge is not None:
        say(f"{judge.name} is to score three answers in the end, for at most {judge.usd:g} $")
    made, real = _prepared(lab, name, faults, folder)
    _announce(made, err=as_json)
    result, report, fired = _play(made, err=as_json)
    judged = judge.score(made, say) if judge is not None and report is not None else None
    told = {"lab": str(made.lab.root), "experiment": made.experiment, "rehearsal": True, "state": result.state}
    told |= {"report": str(report) if report else None, "seconds": round(result.seconds, 1)}
    if as_json:
        print_json(told | _document(made, fired, real) | {"judge": judged.document() if judged else None})
    else:
        click.echo("\n".join(_lines(made, report, fired, real, judged)))
    understood = judge is None or (judged is not None and judged.valid == judged.shown)
    raise SystemExit(0 if report is not None and result.state == "finished" and understood else 1)


class _Judge:
    """The plan's own judge, found to be there before the rehearsal begins."""

    def __init__(self, lab: Lab, experiment: str, usd: float) -> None:
        from nightlab.errors import UsageError
        from nightlab.experiments.plan import Plan
        from nightlab.founding.plans_judge import check_judge
        from nightlab.runs.plan import kind_of

        folder = lab.experiment(experiment)
        if kind_of(folder) == "run":
            raise UsageError("a plan of runs has no judge", where=folder, hint="leave --real-judge away")
        self.lab, self.plan, self.usd = lab, Plan.load(folder), usd
        self.name = check_judge(lab, self.plan)

    def score(self, made: Rehearsal, say: Callable[[str], None]) -> Judged:
        """Score three answers of the rehearsal. Raises NightlabError."""
        from nightlab.founding.plans_judge import judge_some

        return judge_some(self.lab, self.plan, made.lab.experiments / made.experiment, self.usd, say)


def _prepared(lab: Lab, name: str, faults: str | None, folder: Path | None) -> tuple[Rehearsal, RealNight]:
    """The copy of the lab, and what the real night would take."""
    from nightlab.experiments.plan import Plan
    from nightlab.founding.real_night import real_night
    from nightlab.founding.real_runs import real_runs
    from nightlab.founding.rehearsal import prepare
    from nightlab.founding.rehearsed_runs import prepare_runs
    from nightlab.runs.plan import RunPlan, kind_of

    place = lab.experiment(name)
    if kind_of(place) == "run":
        return prepare_runs(lab, name, faults, folder), real_runs(lab, RunPlan.load(place))
    return prepare(lab, name, faults, folder), real_night(lab, Plan.load(place))


def _play(made: Rehearsal, err: bool) -> tuple[Result, Path | None, list[dict[str, Any]]]:
    """The night in the copy; its result, its report, and the guards that fired."""
    from nightlab.cli.live import shown
    from nightlab.founding.rehearsal import guards, mark
    from nightlab.morning.brief import write_brief
    from nightlab.night import Options, preflight, run_night

    options = Options(brief=write_brief)
    with shown(err=err) as watch:
        preflight(made.lab, options)
        result = run_night(made.lab, options, on_event=watch)
    return result, mark(made), guards(made, result.night)


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


def _lines(
    made: Rehearsal, report: Path | None, fired: list[dict[str, Any]], real: RealNight, judged: Judged | None
) -> list[str]:
    from nightlab.morning.text import wrap

    width = min(columns(), 100)
    lines = ["", f"REHEARSAL of {made.experiment}", f"  report: {report or 'none: the night did not come to it'}", ""]
    lines.append("Guards that fired")
    for one in fired or [{"guard": "none", "times": 0, "example": "nothing went wrong"}]:
        said = f"{one['guard']}, for example" if one["times"] > 1 else one["guard"]
        lines += wrap(f"{one['times']} x {said}: {one['example']}", width, first="  ", rest="      ")
    if judged is not None:
        lines += ["", "The plan's own judge", *wrap(judged.sentence(), width, first="  ", rest="    ")]
    lines += ["", "The real night, at most", f"  {real.sentence()}"]
    for line in real.lines:
        lines += wrap(line, width, first="  - ", rest="    ")
    return lines

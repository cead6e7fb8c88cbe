"""`nightlab report`: tables, figures, claims and the report of one experiment, from its rows."""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.session import Session
from nightlab.lab import Lab


@click.command()
@click.argument("experiment")
@click.pass_obj
def report(session: Session, experiment: str) -> None:
    """Analyse EXPERIMENT and compile its report.md from its template and rows."""
    from nightlab.evidence.analyze import analyze
    from nightlab.evidence.report import compile_report
    from nightlab.evidence.runs import is_run
    from nightlab.servers.server import list_servers

    lab = session.lab()
    folder = lab.experiment(experiment)
    if is_run(folder):
        _report_runs(lab, folder)
        return
    manifests = [manifest.model_dump() for manifest in list_servers(lab)]
    analysis = analyze(folder, servers=manifests, events=_events(lab), resamples=lab.config.bootstrap)
    path = compile_report(folder, analysis)
    for claim in analysis.claims:
        click.echo(f"{claim.id}  {claim.hypothesis} {claim.verdict}: {claim.sentence}")
    click.echo(f"Report: {lab.relative(path)}")


def _report_runs(lab: Lab, folder: Path) -> None:
    from nightlab.evidence.run_report import compile_run_report
    from nightlab.evidence.runs import analyze_runs

    analysis = analyze_runs(folder, events=_events(lab), resamples=lab.config.bootstrap)
    path = compile_run_report(folder, analysis)
    for claim in analysis.claims:
        click.echo(f"{claim.id}  {claim.sentence}")
    click.echo(f"Report: {lab.relative(path)}")


def _events(lab: Lab) -> list[dict[str, object]]:
    """The events of every night, oldest first; the analysis keeps what concerns the experiment."""
    from nightlab.events import EventLog

    return [event for night in lab.night_names() for event in EventLog(lab.night(night)).read()]

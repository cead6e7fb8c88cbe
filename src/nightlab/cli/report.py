"""`nightlab report`: tables, figures, claims and the report of one experiment, from its rows."""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.session import Session
from nightlab.lab import Lab


@click.command()
@click.argument("experiment")
@click.option("--html", "html", is_flag=True, help="Make one self-contained report.html, too.")
@click.option("--pdf", "pdf", is_flag=True, help="Print that page to report.pdf with Chromium.")
@click.option("--notebook", is_flag=True, help="Execute the analysis as analysis.ipynb.")
@click.pass_obj
def report(session: Session, experiment: str, html: bool, pdf: bool, notebook: bool) -> None:
    """Analyse EXPERIMENT and compile its report.md from its template and rows."""
    lab = session.lab()
    folder = lab.experiment(experiment)
    _compile(lab, folder)
    if html or pdf:
        from nightlab.evidence.page import write_page

        page = write_page(folder)
        click.echo(f"Page: {lab.relative(page)}")
    if pdf:
        from nightlab.evidence.printing import print_page

        click.echo(f"PDF: {lab.relative(print_page(page))}")
    if notebook:
        from nightlab.evidence.notebook import write_notebook

        click.echo(f"Notebook: {lab.relative(write_notebook(folder))}")


def _compile(lab: Lab, folder: Path) -> None:
    from nightlab.evidence.analyze import analyze
    from nightlab.evidence.report import compile_report
    from nightlab.evidence.runs import is_run
    from nightlab.night.reporting import claims_of_others
    from nightlab.servers.server import list_servers

    if is_run(folder):
        _report_runs(lab, folder)
        return
    manifests = [manifest.model_dump() for manifest in list_servers(lab)]
    others = claims_of_others(lab, folder.name)
    analysis = analyze(folder, servers=manifests, events=_events(lab), resamples=lab.config.bootstrap, others=others)
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

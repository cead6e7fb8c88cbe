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
    """Analyse and report as a night does, from the same events, servers and ledgers."""
    from nightlab.night.reporting import analyze_experiment, older_views, report_experiment

    analysis = analyze_experiment(lab, folder.name)
    path = report_experiment(lab, folder.name)
    for claim in analysis.claims:
        name = f"{claim.id}  {claim.hypothesis} {claim.verdict}" if claim.hypothesis else claim.id
        click.echo(f"{name}: {claim.sentence}")
    click.echo(f"Report: {lab.relative(path)}")
    for view in older_views(folder):
        click.echo(f"Older than this report: {lab.relative(view)}")

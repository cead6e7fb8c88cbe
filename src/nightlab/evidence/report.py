"""report.md, compiled from the experiment's report.md.j2: prose by people and agents, numbers by queries, sections by
code.

The shipped template is copied into the experiment where it has none, so that its prose can be edited there. Nothing is
written when the template has a typed number or asks for something that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from nightlab.evidence.figure_files import drawn_from
from nightlab.evidence.lint import find_typed, refuse
from nightlab.evidence.queries import Queries
from nightlab.evidence.record import write_record
from nightlab.evidence.sandbox import ReportError, render
from nightlab.evidence.scope import scope_of
from nightlab.evidence.sections import sections
from nightlab.evidence.setting import setting
from nightlab.evidence.suggest import query_for
from nightlab.evidence.titles import check_titles
from nightlab.evidence.wording import check_words
from nightlab.files import read_text, sha256_file, write_atomic

if TYPE_CHECKING:
    from nightlab.evidence.analysis import Analysis
    from nightlab.evidence.figure_files import Figure

TEMPLATE = "report.md.j2"
REPORT = "report.md"


def compile_report(folder: Path, analysis: Analysis | None = None, into: Path | None = None) -> Path:
    """Write report.md and record.json; without an analysis one is made from rows and snapshot.

    `into` is where they go, if not into the folder itself. Raises ReportError, QueryError.
    """
    if analysis is None:
        from nightlab.evidence.analyze import analyze_again

        analysis = analyze_again(folder)
    template = folder / TEMPLATE
    if into is None and not template.exists():
        write_atomic(template, default_template())
    text = read_text(template, ReportError) if template.exists() else default_template()
    rendered = compile_text(text, template, analysis)
    check_figures(into or folder, analysis.figures)
    queries = Queries(analysis.table, analysis.verdicts)
    check_titles(analysis.figures, queries, analysis.summary, scope_of(analysis))
    path = (into or folder) / REPORT
    write_atomic(path, rendered)
    if into is None:
        write_record(folder)
    return path


def compile_text(text: str, where: Path | str, analysis: Analysis, names: Iterable[str] = ()) -> str:
    """A template text, checked and rendered: reports, and what agents write into the diary, pass here.

    `names` may hold digits besides those of the plan. Raises ReportError with file and line, QueryError.
    """
    scope = scope_of(analysis)
    typed = find_typed(text, where, {*scope.names, *names})
    if typed:
        refuse(typed, where, query_for(typed[0].text, analysis))
    check_words(text, where, scope)
    queries = Queries(analysis.table, analysis.verdicts)
    rendered = render(text, {**queries.vocabulary(), **sections(analysis), **setting(analysis)}, where)
    queries.refuse_reversals()
    if unplanned := exploratory(analysis, queries):
        told = replace(analysis, deviations=(*analysis.deviations, *unplanned))
        return render(text, {**queries.vocabulary(), **sections(told), **setting(told)}, where)
    return rendered


def exploratory(analysis: Analysis, queries: Queries) -> list[str]:
    """One text for each analysis that a text asked for and that neither a hypothesis nor the plan announced."""
    planned = Queries(analysis.table, analysis.verdicts)
    for claim in analysis.claims:
        render(claim.template, planned.vocabulary(), f"claim {claim.id}")
    for text in analysis.table.design.config.analyses:
        render(f"{{{{ {text} }}}}", planned.vocabulary(), "analyses in config.yaml")
    unplanned = [text for name, text in queries.asked.items() if name not in planned.asked]
    return [f"exploratory, not in the plan: {text}" for text in unplanned]


def check_figures(folder: Path, figures: Sequence[Figure]) -> None:
    """Refuse a figure that was drawn from other numbers than those that stand beside it. Raises ReportError."""
    for figure in figures:
        csv, png = folder / figure.csv, folder / figure.png
        beside = sha256_file(csv) if csv.is_file() else "no csv"
        drawn = drawn_from(png) if png.is_file() else beside
        if {beside, drawn} != {figure.sha256}:
            hint = "analyse the experiment again: every figure is drawn anew from the rows"
            raise ReportError("a stale figure: its csv is not the one that it was drawn from", where=csv, hint=hint)


def default_template() -> str:
    """The template that ships with nightlab."""
    return (resources.files("nightlab.evidence") / "templates" / TEMPLATE).read_text("utf-8")

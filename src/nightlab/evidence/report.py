"""report.md, compiled from the experiment's report.md.j2: prose by people and agents, numbers by queries, sections by
code.

The shipped template is copied into the experiment where it has none, so that its prose can be edited there. Nothing is
written when the template has a typed number or asks for something that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from nightlab.evidence.design import FACTORS
from nightlab.evidence.figure_files import drawn_from
from nightlab.evidence.lint import lint
from nightlab.evidence.queries import Queries
from nightlab.evidence.record import write_record
from nightlab.evidence.sandbox import ReportError, render
from nightlab.evidence.sections import sections
from nightlab.evidence.setting import setting
from nightlab.files import read_text, sha256_file, write_atomic

if TYPE_CHECKING:
    from nightlab.evidence.analyze import Analysis
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
    lint(text, template, _names(analysis))
    queries = Queries(analysis.table, analysis.verdicts)
    vocabulary = {**queries.vocabulary(), **sections(analysis), **setting(analysis)}
    rendered = render(text, vocabulary, template)
    check_figures(into or folder, analysis.figures)
    path = (into or folder) / REPORT
    write_atomic(path, rendered)
    if into is None:
        write_record(folder)
    return path


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


def _names(analysis: Analysis) -> list[str]:
    """The plan's own names, which may hold digits."""
    design = analysis.table.design
    levels = [str(level) for factor in FACTORS if factor != "replicate" for level in design.levels[factor]]
    ids = [hypothesis.id for hypothesis in design.hypotheses] + [claim.id for claim in analysis.claims]
    named = [
        *levels,
        *ids,
        *analysis.table.dimensions,
        *(design.model_id(model) for model in design.models),
        design.name,
    ]
    return [name for name in named if any(letter.isalpha() for letter in name)]

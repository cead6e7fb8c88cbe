"""report.md, compiled from the experiment's report.md.j2: prose by people and agents, numbers by queries, sections by
code.

The shipped template is copied into the experiment where it has none, so that its prose can be edited there. Nothing is
written when the template has a typed number or asks for something that does not exist.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from nightlab.evidence.design import FACTORS
from nightlab.evidence.lint import lint
from nightlab.evidence.queries import Queries
from nightlab.evidence.sandbox import ReportError, render
from nightlab.evidence.sections import sections
from nightlab.evidence.setting import setting
from nightlab.files import read_text, write_atomic

if TYPE_CHECKING:
    from nightlab.evidence.analyze import Analysis

TEMPLATE = "report.md.j2"
REPORT = "report.md"


def compile_report(folder: Path, analysis: Analysis | None = None) -> Path:
    """Write report.md; without an analysis one is made from rows and snapshot. Raises ReportError, QueryError."""
    if analysis is None:
        from nightlab.evidence.analyze import analyze_again

        analysis = analyze_again(folder)
    template = folder / TEMPLATE
    if not template.exists():
        write_atomic(template, default_template())
    text = read_text(template, ReportError)
    lint(text, template, _names(analysis))
    queries = Queries(analysis.table, analysis.verdicts)
    vocabulary = {**queries.vocabulary(), **sections(analysis), **setting(analysis)}
    path = folder / REPORT
    write_atomic(path, render(text, vocabulary, template))
    return path


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

"""Titles of figures: templates that ask the same queries as a report, and pass the same checks.

A title says what the data show, so every name and number in it is a query and every strong word stands under one. The
report is compiled only with titles that hold then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from nightlab.evidence.design import QueryError
from nightlab.evidence.figure_files import Figure
from nightlab.evidence.lint import find_typed
from nightlab.evidence.queries import Queries
from nightlab.evidence.sandbox import ReportError, render
from nightlab.evidence.scope import Scope
from nightlab.evidence.sentences import ask
from nightlab.evidence.summary import Summary
from nightlab.evidence.ticks import label, read_depths
from nightlab.evidence.wording import find_unbacked

_SPAN = re.compile(r"`([^`]*)`")


def layers_title(summary: Summary, dimension: str) -> str:
    """The template: where each model peaks."""
    return f"{ask('level', dimension)} by amplified layers: {_each(summary, _peak, dimension)}"


def _peak(summary: Summary, model: str, dimension: str) -> str:
    name = ask("level", model)
    if summary.peak(model, dimension) is None:
        return f"{name} has no complete data"
    decided = ask("decided", dimension, model)[3:-3]
    peaks = f"{name} peaks in {ask('peak', dimension, model)}"
    return f"{{% if {decided} %}}{peaks}{{% else %}}{name} is undecided{{% endif %}}"


def dimensions_title(summary: Summary, dimension: str) -> str:
    """The template: in how many of the other dimensions each model has its largest mean at the same place."""
    if len(summary.table.dimensions) == 1:
        return f"Means of {ask('level', dimension)} by amplified layers"
    own = ask("level", dimension)
    return f"Dimensions whose largest mean lies where {own} has its own: {_each(summary, _dimensions, dimension)}"


def _dimensions(summary: Summary, model: str, dimension: str) -> str:
    return f"{ask('level', model)} {ask('agreement', dimension, model)}"


def categories_title(summary: Summary, dimension: str) -> str:
    """The template: in how many prompt categories each model has its largest mean where it has it over all."""
    said = _each(summary, _categories, dimension)
    return f"Prompt categories whose largest mean {ask('level', dimension)} lies where the model's own does: {said}"


def _categories(summary: Summary, model: str, dimension: str) -> str:
    return f"{ask('level', model)} {ask('agreement', dimension, model, over='category')}"


def _each(summary: Summary, part: Callable[[Summary, str, str], str], dimension: str) -> str:
    return ", ".join(part(summary, model, dimension) for model in summary.table.design.models)


def said(template: str, queries: Queries, summary: Summary, where: str) -> str:
    """The title that a template gives, as plain text: ranges by their labels, other names as they are."""
    depths = read_depths(summary.table.rows.folder)
    names = {name: label(name, depths) for name in summary.table.design.ranges}
    text = _SPAN.sub(lambda span: names.get(span[1], span[1]), render(template, queries.vocabulary(), where))
    return text[:1].upper() + text[1:]


def check_titles(figures: Iterable[Figure], queries: Queries, summary: Summary, scope: Scope) -> None:
    """Refuse a title with a typed number, with a word that nothing backs, or that is not what the data give.

    Raises ReportError naming the figure.
    """
    for figure in figures:
        where = f"the title of {figure.name}"
        hint = f"analyse the experiment again; the title is made of: {figure.says}"
        if typed := find_typed(figure.says, where, scope.names):
            raise ReportError(f"a number is typed into a title: `{typed[0].text}`", where=where, hint=hint)
        if unbacked := find_unbacked(figure.says, where, scope):
            raise ReportError(f"`{unbacked[0].text}`: {unbacked[0].why}", where=where, hint=hint)
        try:
            gives = said(figure.says, queries, summary, where)
        except QueryError as problem:
            raise ReportError(problem.what, where=where, hint=problem.hint or hint) from None
        if figure.title != gives:
            raise ReportError(f"it says “{figure.title}”, and the data give “{gives}”", where=where, hint=hint)

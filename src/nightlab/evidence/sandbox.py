"""Templates in a Jinja2 sandbox: only queries and generated sections are in reach; foreign text comes out escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nightlab.errors import UsageError
from nightlab.evidence.markdown import Markdown, escape
from nightlab.evidence.stats import Estimate


class ReportError(UsageError):
    """A report or claim template that cannot be compiled."""


def environment() -> ImmutableSandboxedEnvironment:
    """The sandbox: no globals, no undefined names, every output inert unless it is ours."""
    sandbox = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=shown, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    sandbox.globals.clear()
    return sandbox


def shown(value: object) -> str:
    """How a template shows a value: our Markdown, estimates and counts as they are, everything else escaped."""
    if isinstance(value, Markdown | Estimate | int):
        return str(value)
    return escape(value)


def render(text: str, vocabulary: Mapping[str, object], where: Path | str) -> str:
    """Render a template text. Raises ReportError with file and line, and lets a QueryError say which query is wrong."""
    try:
        return environment().from_string(text).render(vocabulary)
    except TemplateSyntaxError as problem:
        raise ReportError(f"malformed template: {problem.message}", where=f"{where}:{problem.lineno}") from None
    except (TemplateError, SecurityError, TypeError, ValueError) as problem:
        raise ReportError(f"the template cannot be rendered: {problem}", where=f"{where}:{_line(problem)}") from None


def _line(problem: BaseException) -> int:
    """The template line of an error, from the frame that Jinja2 names `<template>`."""
    line, trace = 1, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line

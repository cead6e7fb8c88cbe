"""The linter of report templates: a number that a person or a model typed is an error with file and line.

Looked at: the prose between the tags, and every constant inside them. Allowed in prose are names that hold digits
(hypotheses `H1`, claims `c1`, questions `q1`, experiments `exp_001`, ranges `layers_0_20`, and the plan's own names),
names inside code spans (a bare number in a code span is not one), and the numbering of headings. Inside tags, strings
are allowed only as arguments of a query, which refuses names it does not know, and numbers not at all. Numbers in
words, and words that claim too much, are found by wording.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jinja2 import TemplateSyntaxError, nodes

from nightlab.evidence.prose import blank, prose_of
from nightlab.evidence.sandbox import ReportError, environment

_NAMES = r"(?:[Hcq]\d+|exp_\d+\w*|layers_\d+_\d+|fig\d+_\w+)"
_HEADING = re.compile(r"^(#+\s+)(?:\d+(?:\.\d+)*\.?)(?=\s)", re.M)
_CODE = re.compile(r"(`+)(.+?)\1", re.S)
_ENTITY = re.compile(r"&(?:#\w+|frac\w+|sup\d|half);")
_NUMBER = re.compile(r"[+-]?[\w.,/%]*\d[\w.,/%]*")


@dataclass(frozen=True)
class Typed:
    """A typed number and its line."""

    line: int
    text: str


HINT = 'ask for it instead: {{ mean("sarcasm", model="llama", condition="base") }}'


def lint(text: str, where: Path | str, names: Iterable[str] = ()) -> None:
    """Refuse a template with typed numbers. Raises ReportError naming the first one's file and line."""
    if found := find_typed(text, where, names):
        refuse(found, where, HINT)


def refuse(found: list[Typed], where: Path | str, hint: str) -> NoReturn:
    """Raise the ReportError of typed numbers, with the first one's file and line, and what to write instead."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    what = f"a number is typed into the report: `{found[0].text}`{more}"
    raise ReportError(what, where=f"{where}:{found[0].line}", hint=hint)


def find_typed(text: str, where: Path | str = "template", names: Iterable[str] = ()) -> list[Typed]:
    """Every typed number of a template, in the order of the lines. Raises ReportError for malformed templates."""
    prose = prose_of(text, where)
    try:
        tree = environment().parse(text)
    except TemplateSyntaxError as problem:
        raise ReportError(f"malformed template: {problem.message}", where=f"{where}:{problem.lineno}") from None
    return sorted([*_in_prose(prose, names), *_in_tags(tree)], key=lambda typed: typed.line)


def _in_prose(prose: str, names: Iterable[str]) -> Iterator[Typed]:
    known = "|".join([_NAMES, *(re.escape(name) for name in sorted(names, key=len, reverse=True))])
    rest = _HEADING.sub(lambda found: found[1] + " " * (len(found[0]) - len(found[1])), prose)
    rest = _CODE.sub(_without_names, rest)
    rest = re.sub(rf"(?<![\w.,-])(?:{known})(?![\w%]|[.,]\d)", lambda found: " " * len(found[0]), rest)
    for number, line in enumerate(rest.split("\n"), 1):
        for entity in _ENTITY.findall(line):
            yield Typed(number, entity)
        bare = _ENTITY.sub(" ", line)
        if any(letter.isnumeric() for letter in bare):
            yield Typed(number, _first_number(bare))


def _without_names(span: re.Match[str]) -> str:
    """A code span without those of its words that are names or paths: digits in a word that begins with a letter."""
    return re.sub(
        r"(?<!\S)[`(\[\"']*[A-Za-z_./~][^\s]*[A-Za-z_][^\s]*|(?<!\S)`*[A-Za-z]\w*", lambda w: blank(w[0]), span[0]
    )


def _first_number(line: str) -> str:
    found = _NUMBER.search(line)
    return found[0] if found else next(letter for letter in line if letter.isnumeric())


def _in_tags(tree: nodes.Template) -> Iterator[Typed]:
    allowed = {id(constant) for call in tree.find_all(nodes.Call) for constant in _arguments(call)}
    for constant in tree.find_all(nodes.Const):
        value = constant.value
        typed = isinstance(value, int | float) and not isinstance(value, bool)
        named = isinstance(value, str) and any(letter.isnumeric() for letter in value) and id(constant) not in allowed
        if typed or named:
            yield Typed(constant.lineno, str(value))


def _arguments(call: nodes.Call) -> Iterator[nodes.Const]:
    """The strings that a query gets: arguments of a call of a plain name, also inside lists and dictionaries."""
    if not isinstance(call.node, nodes.Name):
        return
    for argument in (*call.args, *(keyword.value for keyword in call.kwargs)):
        if isinstance(argument, nodes.Const):
            yield argument
        elif isinstance(argument, nodes.List | nodes.Dict):
            yield from argument.find_all(nodes.Const)

"""Numbers typed into plotting code: a figure that does not come from rows cannot follow them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nightlab.audit.code import trees
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding

PLOTS = {
    "plot",
    "bar",
    "barh",
    "errorbar",
    "scatter",
    "imshow",
    "heatmap",
    "fill_between",
    "boxplot",
    "lineplot",
    "barplot",
}
_FEWEST = 3
_LOOKS = {
    "figsize",
    "rect",
    "color",
    "c",
    "rgb",
    "xlim",
    "ylim",
    "set_xlim",
    "set_ylim",
    "linspace",
    "subplots_adjust",
    "bins",
}


def literals(data: Data) -> Iterator[Finding]:
    """Findings about lists of typed numbers in code that draws."""
    for path, tree in trees(data.code):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if not any(isinstance(call.func, ast.Attribute) and call.func.attr in PLOTS for call in calls):
            continue
        ignored = {id(inner) for node in calls for inner in _looks(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.List | ast.Tuple | ast.Dict) and id(node) not in ignored and _typed(node):
                what = "numbers are typed into code that draws: a figure has to come from rows"
                yield finding(
                    "literals", "error", path, what, line=node.lineno, evidence=ast.unparse(node), root=data.root
                )


def _looks(call: ast.Call) -> Iterator[ast.AST]:
    """The parts of a call that say how something looks, not what is drawn."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    parts = [keyword.value for keyword in call.keywords if keyword.arg in _LOOKS]
    for part in [*parts, *(call.args if name in _LOOKS else [])]:
        yield from ast.walk(part)


def _typed(node: ast.List | ast.Tuple | ast.Dict) -> bool:
    """At least three numbers, one of them not whole: positions and counts are whole."""
    values = node.values if isinstance(node, ast.Dict) else node.elts
    numbers = [_number(value) for value in values]
    known = [value for value in numbers if value is not None]
    return len(known) >= _FEWEST and any(value != int(value) for value in known)


def _number(node: ast.expr | None) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    return None

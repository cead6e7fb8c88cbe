"""Groups that were pooled over models without saying so, in tables and in code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nightlab.audit.code import trees
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding


def pooled(data: Data) -> Iterator[Finding]:
    """Findings about aggregates in which models are mixed."""
    factor = data.model_factor
    if factor is None:
        return
    yield from _tables(data, factor)
    yield from _code(data, factor)


def _tables(data: Data, factor: str) -> Iterator[Finding]:
    for path, rows in data.files.items():
        summed = [row for row in rows if data.is_aggregate(row)]
        named = {name for row in summed for name in row.values}
        if (
            not summed
            or factor in named
            or not named & {*data.factors}
            or any(lv in path.stem for lv in data.factors[factor])
        ):
            continue
        for row in summed:
            where = {name: row.values[name] for name in data.factors if name in row.values}
            own = [one for one in data.scored if all(one.values.get(n) == level for n, level in where.items())]
            models = dict.fromkeys(str(one.values.get(factor)) for one in own)
            if len(models) > 1:
                said = ", ".join(f"{name} {level}" for name, level in where.items())
                what = f"{said}: a row without {factor}, over {', '.join(models)}"
                yield finding("pooled", "error", path, what, line=row.line, root=data.root)
                break


def _code(data: Data, factor: str) -> Iterator[Finding]:
    for path, tree in trees(data.code):
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if (
                node.func.attr in ("groupby", "pivot_table")
                and _names(node) & {*data.factors}
                and factor not in _names(node)
            ):
                inside = ast.unparse(node)
                if not any(level in inside for level in data.factors[factor]):
                    what = f"grouped without {factor}: its levels are pooled"
                    yield finding("pooled", "warning", path, what, line=node.lineno, evidence=inside, root=data.root)


def _names(call: ast.Call) -> set[str]:
    return {node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)}

"""Missing scores that were turned into zeros: rows that scored nothing as 0, and code that fills holes with 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nightlab.audit.code import trees
from nightlab.audit.data import ID, Data, Row
from nightlab.audit.finding import Finding, finding

FAILED = ("error", "failed", "failure", "exception", "timeout", "parse_error")


def zeros(data: Data) -> Iterator[Finding]:
    """Findings about zeros that stand for nothing."""
    yield from _rows(data)
    yield from _code(data)


def _rows(data: Data) -> Iterator[Finding]:
    answers = {str(row.values[name]): row for row in data.samples for name in ID if name in row.values}
    for row in data.scored:
        given = [row.number(name) for name in data.measures if name in row.values]
        if not given or any(value != 0 for value in given):
            continue
        answer = next((answers[str(row.values[name])] for name in ID if str(row.values.get(name)) in answers), row)
        why = _nothing(answer) or _nothing(row)
        if why:
            what = f"scored 0 in all of {len(given)} dimensions, and {why}: a missing score is not a zero"
            yield finding("zeros", "error", row.file, what, line=row.line, root=data.root)


def _nothing(row: Row) -> str:
    """Why there is nothing to score in a row; "" where there is."""
    if row.text is not None and not row.text.strip():
        return "the answer is empty"
    for name, value in row.values.items():
        word = name.rsplit(".", 1)[-1].casefold()
        if word in FAILED and value not in (None, "", False, "False", "false", "0", 0):
            return f"`{name}` is {str(value)[:60]!r}"
        if word in ("status", "outcome") and str(value).casefold() in FAILED:
            return f"`{name}` is {value}"
    return ""


def _code(data: Data) -> Iterator[Finding]:
    for path, tree in trees(data.code):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _fills(node):
                what = "holes are filled with 0 here: a missing score is not a zero"
                yield finding(
                    "zeros", "error", path, what, line=node.lineno, evidence=ast.unparse(node), root=data.root
                )


def _fills(call: ast.Call) -> bool:
    """`x.fillna(0)`, `scores.get("sarcasm", 0)`, `np.nan_to_num(x)`."""
    assert isinstance(call.func, ast.Attribute)
    last = call.args[-1] if call.args else None
    zero = isinstance(last, ast.Constant) and last.value == 0 and not isinstance(last.value, bool)
    if call.func.attr == "get":
        about = ast.unparse(call).casefold()
        return zero and len(call.args) == 2 and any(word in about for word in ("score", "rating", "judg"))
    return call.func.attr == "nan_to_num" or (call.func.attr == "fillna" and zero)

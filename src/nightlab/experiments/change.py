"""Small corrections of a plan before it is frozen: a value is replaced in the text, comments and layout stay.

A path is dotted, and items of a list go by `name` or `id`: `models.qwen.id` (short for `factors.models.qwen.id`),
`serving.port`. After the freeze only `serving` may change. Limit: a value that is written as a block (indented lines)
can be replaced, but the comments inside it are lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import yaml

from nightlab.errors import FrozenError, PlanError, nearest
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import CONFIG, Plan
from nightlab.files import parse_yaml, read_text, write_atomic

Node = yaml.Node
P = TypeVar("P")


def apply(folder: Path, changes: Mapping[str, object]) -> Plan:
    """Set values of a folder's config.yaml by key path; raises PlanError or FrozenError, and nothing is written."""
    return apply_to(folder, changes, Plan.parse)


def apply_to(folder: Path, changes: Mapping[str, object], parse: Callable[[str, Path], P]) -> P:
    """The same for a plan of another kind, which `parse` reads and checks."""
    path = folder / CONFIG
    text = read_text(path, PlanError)
    parse_yaml(text, path, PlanError)
    fixed = [key for key in changes if key.split(".")[0] != "serving"]
    if fixed and read_lock(folder) is not None:
        hint = "make a new experiment folder with the change; this one stays as it was frozen"
        raise FrozenError(f"`{fixed[0]}` cannot change: the plan is frozen", where=path, hint=hint)
    for key, value in changes.items():
        text = set_value(text, key, value, path)
    plan = parse(text, folder)
    write_atomic(path, text)
    return plan


def set_value(text: str, key: str, value: object, where: Path) -> str:
    """A YAML text with the value at a key path replaced, or added as the last key of its mapping. Raises PlanError."""
    node = yaml.compose(text, yaml.SafeLoader)
    parts = key.split(".")
    if (
        isinstance(node, yaml.MappingNode)
        and parts[0] not in _keys(node)
        and parts[0] in _keys(_child(node, "factors"))
    ):
        parts = ["factors", *parts]
    while parts and node is not None:
        child, rest = _step(node, parts)
        if child is None:
            return _add(text, node, parts, value, key, where)
        node, parts = child, rest
    if node is None:
        raise PlanError("the plan is empty", where=where)
    return _replace(text, node, value)


def _step(node: Node, parts: list[str]) -> tuple[Node | None, list[str]]:
    """The child that the first parts name (a name may hold dots), and the parts behind it."""
    for count in range(len(parts), 0, -1):
        child = _child(node, ".".join(parts[:count]))
        if child is not None:
            return child, parts[count:]
    return None, parts


def _child(node: Node | None, name: str) -> Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == name), None)
    if isinstance(node, yaml.SequenceNode):
        named = (item for item in node.value for key in ("name", "id") if _scalar(_child(item, key)) == name)
        return next(named, None)
    return None


def _scalar(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _keys(node: Node | None) -> list[str]:
    if isinstance(node, yaml.MappingNode):
        return [str(key.value) for key, _ in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [name for item in node.value for key in ("name", "id") if (name := _scalar(_child(item, key)))]
    return []


def _replace(text: str, node: Node, value: object) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    old = text[start:end]
    tail = old[len(old.rstrip()) :]  # a block's node reaches to the next token: keep the line break before it
    gap = "" if old or text[:start].endswith((" ", "\n")) else " "
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        gap = "  "  # its dashes may stand in the column of its key, and nothing else may
    return text[:start] + gap + _flow(value) + tail + text[end:]


def _add(text: str, node: Node, parts: list[str], value: object, key: str, where: Path) -> str:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        close = nearest(parts[0], _keys(node))
        hint = f"did you mean {close}?" if close else f"known there: {', '.join(_keys(node)) or 'nothing'}"
        raise PlanError(f"the plan has no `{key}`", where=where, hint=hint)
    for part in reversed(parts[1:]):
        value = {part: value}
    entry = f"{parts[0]}: {_flow(value)}"
    if node.flow_style:
        end = node.end_mark.index - 1
        return f"{text[:end].rstrip()}, {entry}{text[end:]}"
    last = node.value[-1][1].end_mark.index
    kept = text[:last].rstrip()
    line_end = text.find("\n", len(kept))
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * node.start_mark.column
    return f"{text[:line_end]}\n{indent}{entry}{text[line_end:] or chr(10)}"


def _flow(value: object) -> str:
    """A value as one line of YAML that is safe inside brackets; a plain word gets no quotes."""
    listed: str = yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return listed.strip()[1:-1]

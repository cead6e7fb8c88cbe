"""YAML as people write it, read strictly: every mistake is one sentence with the file and the line.

Refused beside malformed text: a key given twice, a value that is none (`2026-99-99`), half a surrogate pair, and
nesting deeper than Python can follow.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from nightlab.errors import UsageError


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what the module says."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep=deep)
            if isinstance(made, str):
                made.encode("utf-8")  # an escape can make half a surrogate pair
        except ValueError as problem:
            raise ConstructorError(None, None, str(problem), node.start_mark) from problem
        return made


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise ConstructorError(None, None, "a key that is no plain value", key_node.start_mark)
        if key in seen:
            raise ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, where: Path | str, error: type[UsageError], first_line: int) -> Any:
    """The value of a YAML text that stands at line `first_line` of `where`; raises `error`."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as problem:
        line = first_line + (problem.problem_mark.line if problem.problem_mark else 0)
        raise error(f"malformed YAML: {problem.problem or problem.context}", where=f"{where}:{line}") from problem
    except yaml.reader.ReaderError as problem:
        line = first_line + text.count("\n", 0, problem.position)
        what = f"malformed YAML: the character #x{ord(text[problem.position]):04x} is not allowed"
        raise error(what, where=f"{where}:{line}") from problem
    except RecursionError:
        raise error("malformed YAML: nested too deeply", where=where) from None

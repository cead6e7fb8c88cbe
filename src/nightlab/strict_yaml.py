"""YAML as people write it, read strictly: every mistake is one sentence with the file and the line.

Refused beside malformed text: a key given twice, a value that is none (`2026-99-99`), half a surrogate pair, and
nesting deeper than Python can follow.
Sound text is scanned by libyaml where PyYAML has it, which takes a sixth of the time; the loader that is all Python is
asked what is wrong with any other, so that the sentences are the same everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from nightlab.errors import UsageError

_CParser: Any = vars(yaml.cyaml)["CParser"] if yaml.__with_libyaml__ else object


class _Strict(SafeConstructor):
    """Refuses what the module says."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep=deep)
            if isinstance(made, str):
                made.encode("utf-8")  # an escape can make half a surrogate pair
        except ValueError as problem:
            raise ConstructorError(None, None, str(problem), node.start_mark) from problem
        return made


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Hashable, Any]:
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
    made: dict[Hashable, Any] = loader.construct_mapping(node, deep=True)
    return made


_Strict.add_constructor(Resolver.DEFAULT_MAPPING_TAG, _mapping)


class _Loader(_Strict, yaml.SafeLoader):
    """What is read in Python alone."""


class _Quick(Composer, _CParser, _Strict, Resolver):  # type: ignore[misc]
    """What libyaml scans; the nodes are Python's, since PyYAML's C composer dies of deep nesting."""

    def __init__(self, stream: str) -> None:
        _CParser.__init__(self, stream)
        Composer.__init__(self)
        _Strict.__init__(self)
        Resolver.__init__(self)


def parse(text: str, where: Path | str, error: type[UsageError], first_line: int) -> Any:
    """The value of a YAML text that stands at line `first_line` of `where`; raises `error`."""
    if yaml.__with_libyaml__ and "\t" not in text:  # libyaml lets tabs pass that Python's scanner refuses
        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(text, _Quick)
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

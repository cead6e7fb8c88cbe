"""A rejected document in one plain sentence: which key, what is wrong, and the nearest key that exists."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nightlab.errors import nearest

Part = int | str

_PHRASES = {
    "missing": "is missing",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "is empty",
    "string_too_short": "is empty",
    "finite_number": "must be a finite number",
    "union_tag_not_found": "needs a `kind`",
}


def sentence(error: ValidationError, schema: type[BaseModel]) -> tuple[str, str | None]:
    """(One sentence with the key path, a hint or None); an unknown key comes before what it left missing."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = tuple(first["loc"])
    shown = key_path(path, schema)
    rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key `{shown}`{rest}", _near(str(path[-1]), fields_at(schema, path[:-1]))
    if first["type"] in ("literal_error", "union_tag_invalid"):
        known = _expected(first)
        wrong = first["ctx"].get("tag", first["input"])
        return f"`{shown}` has an unknown value {str(wrong)[:80]!r}{rest}", _near(str(wrong), known)
    phrase = _PHRASES.get(first["type"], first["msg"].removeprefix("Value error, ").replace("Input should", "must"))
    return f"`{shown or 'the file'}` {phrase}{rest}", None


def _near(word: str, known: Sequence[str]) -> str | None:
    close = nearest(word, known)
    if close:
        return f"did you mean `{close}`?"
    return f"known here: {', '.join(known)}" if known else None


def _expected(problem: Any) -> list[str]:
    text = str(problem["ctx"].get("expected") or problem["ctx"].get("expected_tags"))
    return [part.strip(" '\"") for part in text.replace(" or ", ",").split(",")]


def key_path(path: Iterable[Part], schema: type[BaseModel]) -> str:
    """A key path as people write it: `factors.models[0].id`."""
    shown = ""
    for part, hidden in zip(path, _tags(schema, tuple(path)), strict=True):
        if isinstance(part, int):
            shown += f"[{part}]"
        elif not hidden and part != "[key]":
            shown += f".{part}" if shown else part
    return shown


def fields_at(schema: type[BaseModel], path: Sequence[Part]) -> list[str]:
    """The keys a document may have at a key path."""
    models, _ = _walk(schema, path)
    return sorted({name for model in models for name in model.model_fields})


def _tags(schema: type[BaseModel], path: Sequence[Part]) -> list[bool]:
    return _walk(schema, path)[1]


def _walk(schema: type[BaseModel], path: Sequence[Part]) -> tuple[list[type[BaseModel]], list[bool]]:
    """The models at a key path, and for each of its parts whether it is a union's tag, which no document has."""
    models, tags = [schema], []
    for part in path:
        fields = [m.model_fields[part] for m in models if isinstance(part, str) and part in m.model_fields]
        tagged = [m for m in models if not fields and part in _kinds(m)]
        tags.append(bool(tagged))
        if tagged:
            models = tagged
        elif fields:  # else the part is an index, or a key that the document chose
            models = [m for field in fields for m in _models_in(field.annotation)]
    return models, tags


def _kinds(model: type[BaseModel]) -> tuple[object, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (list, tuple, dict, Union, types.UnionType) or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation):
            yield from _models_in(inner)

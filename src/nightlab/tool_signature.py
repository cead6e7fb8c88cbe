"""What a tool function says about itself: its JSON schema, its words, and the check of the arguments it is called with.

The signature gives names, types and defaults; a Google-style docstring (`Args:`, `Returns:`) gives the words. If they
disagree the tool is refused when it is loaded: a model never reads of an argument that does not exist.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightlab.errors import SpecError, nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SECTION = re.compile(r"^(Args|Returns|Raises):\s*$", re.MULTILINE)
BAR = r"\|"  # a bar inside a table cell
_ITEM = re.compile(r"(\w+):\s*(.*)")


@dataclass(frozen=True)
class Argument:
    """One argument of a tool: its checked type, JSON schema and words."""

    name: str
    adapter: TypeAdapter[Any]
    schema: dict[str, Any]
    required: bool
    text: str


@dataclass(frozen=True)
class Signature:
    """Everything a tool says about itself."""

    summary: str
    description: str
    returns: str
    arguments: tuple[Argument, ...]

    def schema(self) -> dict[str, Any]:
        """The arguments as one JSON schema object."""
        properties, definitions = {}, {}
        for argument in self.arguments:
            schema = dict(argument.schema)
            definitions.update(schema.pop("$defs", {}))
            properties[argument.name] = schema | {"description": argument.text}
        required = [argument.name for argument in self.arguments if argument.required]
        body = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return body | ({"$defs": definitions} if definitions else {})

    def table(self) -> list[str]:
        """The arguments as the lines of a Markdown table; none where there are none."""
        head = ["", "| argument | type | default | what it is |", "|---|---|---|---|"] if self.arguments else []
        defaults = ["required" if a.required else f"`{a.schema['default']!r}`" for a in self.arguments]
        cells = [
            [f"`{a.name}`", _kind(a.schema), default, a.text]
            for a, default in zip(self.arguments, defaults, strict=True)
        ]
        return [*head, *(f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |" for row in cells)]

    def problem(self, given: Mapping[str, Any]) -> str | None:
        """Why a call's arguments do not fit, in one sentence, or None."""
        names = [argument.name for argument in self.arguments]
        for name in given:
            if name not in names:
                close = nearest(name, names)
                return f"there is no argument {name!r}" + (f"; did you mean {close!r}?" if close else "")
        missing = [argument.name for argument in self.arguments if argument.required and argument.name not in given]
        return f"missing: {', '.join(missing)}" if missing else None

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in their declared types. Raises ValueError with one sentence."""
        from pydantic import ValidationError

        bound = {}
        for argument in self.arguments:
            if argument.name not in given:
                continue
            try:
                bound[argument.name] = argument.adapter.validate_python(given[argument.name])
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                place = ".".join([argument.name, *map(str, first["loc"])])
                raise ValueError(f"{place}: {first['msg']}") from error
        return bound


def _kind(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in words, for a table cell."""
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "any" if "$ref" not in schema else "object"))


def read(function: Callable[..., Any], path: Path) -> Signature:
    """The signature of a tool function `async def name(ctx: ToolContext, …) -> dict[str, Any]`. Raises SpecError."""
    where = f"{path}:{function.__code__.co_firstlineno}"
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise SpecError(f"an annotation cannot be read: {error}", where=where) from error
    parameters = list(signature.parameters.values())
    if not inspect.iscoroutinefunction(function):
        raise SpecError("a tool is an async function", where=where, hint=f"async def {function.__name__}(ctx, …)")
    if not parameters or parameters[0].name != "ctx":
        raise SpecError("the first parameter of a tool is ctx: ToolContext", where=where)
    if signature.return_annotation is inspect.Signature.empty:
        raise SpecError("the result has no type", where=where, hint="-> dict[str, Any]")
    summary, description, words, returns = read_docstring(inspect.getdoc(function) or "")
    if not summary:
        raise SpecError("no docstring: it is what a model reads about the tool", where=where)
    _check_words(words, [p.name for p in parameters[1:]], where)
    arguments = tuple(_argument(p, words[p.name], where) for p in parameters[1:])
    return Signature(summary, description, returns, arguments)


def read_docstring(text: str) -> tuple[str, str, dict[str, str], str]:
    """Summary, description without `Args:`, the words for each argument, and what is returned."""
    pieces = _SECTION.split(text)
    body = pieces[0].strip()
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    returns = " ".join(sections.get("Returns", "").split())
    summary = " ".join(body.split("\n\n")[0].split())
    description = body + (f"\n\nReturns: {returns}" if returns else "")
    return summary, description, _items(sections.get("Args", "")), returns


def _items(section: str) -> dict[str, str]:
    """The entries `name: text` of an `Args:` section; deeper lines continue the entry above them."""
    items: dict[str, str] = {}
    lines = [line for line in section.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    name = ""
    for line in lines:
        found = _ITEM.fullmatch(line.strip()) if len(line) - len(line.lstrip()) == margin else None
        if found:
            name = found[1]
            items[name] = found[2]
        elif name:
            items[name] = f"{items[name]} {line.strip()}"
    return items


def _check_words(words: Mapping[str, str], names: list[str], where: str) -> None:
    for name in names:
        if not words.get(name):
            raise SpecError(
                f"the argument {name!r} is not explained under Args:", where=where, hint=f"{name}: what it is"
            )
    for name in words:
        if name not in names:
            raise SpecError(f"Args: explains {name!r}, which is no argument", where=where)


def _argument(parameter: inspect.Parameter, text: str, where: str) -> Argument:
    from pydantic import PydanticUserError, TypeAdapter

    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise SpecError(f"a tool names its arguments, *{parameter.name} does not", where=where)
    if parameter.annotation is parameter.empty:
        raise SpecError(f"the argument {parameter.name!r} has no type", where=where)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
        schema = without_titles(adapter.json_schema())
    except PydanticUserError as error:
        raise SpecError(f"the type of {parameter.name!r} cannot be described: {error.message}", where=where) from error
    required = parameter.default is parameter.empty
    if not required:
        schema["default"] = adapter.dump_python(parameter.default, mode="json")
    return Argument(parameter.name, adapter, schema, required, text)


def without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema without the titles pydantic adds; an argument that is called `title` stays."""
    clean: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in ("properties", "$defs") and isinstance(value, dict):
            clean[key] = {name: without_titles(inner) for name, inner in value.items()}
        elif isinstance(value, dict):
            clean[key] = without_titles(value)
        elif isinstance(value, list):
            clean[key] = [without_titles(item) if isinstance(item, dict) else item for item in value]
        else:
            clean[key] = value
    return clean

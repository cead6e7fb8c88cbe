"""Tools: what agents can call. One file each, one typed async function under `@tool`, found in two layers.

Files are loaded by path from their source as it is now (modules `nightlab_tools.<name>`); a lab never goes on sys.path.
A call never raises for a failure: it returns a closed code, one sentence and a next step.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, get_args

from nightlab import tool_signature
from nightlab.errors import NightlabError, SpecError, nearest
from nightlab.files import sha256_file
from nightlab.lab import Found, Lab, look_up_all
from nightlab.tool_context import VIOLATIONS, Staff, ToolContext, Works
from nightlab.tool_result import ToolError, ToolFailure, ToolResult
from nightlab.tool_signature import Signature

__all__ = [
    "Effect",
    "Staff",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolFailure",
    "ToolResult",
    "Toolbox",
    "Works",
    "readme",
    "tool",
]

Effect = Literal["read", "write", "compute", "money"]
ToolFunction = Callable[..., Awaitable[dict[str, Any]]]

_EFFECTS = {
    "read": "looks, changes nothing",
    "write": "writes files of the lab",
    "compute": "uses the machine",
    "money": "may cost money",
}


def tool(effect: Effect, *, keeps_to_reads: bool = False) -> Callable[[ToolFunction], ToolFunction]:
    """Mark the one async function of a tool file, and say what calling it does to the world.

    `keeps_to_reads`: it shows no file that the agent may not read, so that an agent with a list of files can have it.
    """

    def mark(function: ToolFunction) -> ToolFunction:
        function.__dict__["nightlab_effect"] = effect
        function.__dict__["nightlab_keeps_to_reads"] = keeps_to_reads
        return function

    return mark


@dataclass(frozen=True)
class Tool:
    """One loaded tool."""

    name: str
    effect: Effect
    function: ToolFunction
    signature: Signature
    found: Found
    keeps_to_reads: bool = False

    def schema(self) -> dict[str, Any]:
        """The tool as the Messages API lists it."""
        return {
            "name": self.name,
            "description": self.signature.description,
            "input_schema": self.signature.schema(),
        }


@dataclass
class Toolbox:
    """The tools one agent may call."""

    tools: dict[str, Tool] = field(default_factory=dict)

    @classmethod
    def load(cls, lab: Lab, names: Iterable[str] | None = None) -> Toolbox:
        """The named tools (default: all) of the lab, else the shipped ones. Raises SpecError."""
        return cls._load(_found(lab), names, lab.root)

    @classmethod
    def load_folder(cls, folder: Path) -> Toolbox:
        """Every tool of one folder. Raises SpecError."""
        return cls._load(_found(folder), None, folder)

    @classmethod
    def _load(cls, found: Mapping[str, Found], names: Iterable[str] | None, where: Path) -> Toolbox:
        tools = {}
        for name in found if names is None else names:
            if name not in found:
                close = nearest(name, found)
                hint = f"did you mean {close}?" if close else f"known: {', '.join(found) or 'none'}"
                raise SpecError(f"there is no tool {name!r}", where=where, hint=hint)
            tools[name] = load_tool(name, found[name])
        return cls(tools)

    def schemas(self) -> list[dict[str, Any]]:
        """All tools as the Messages API lists them, in a constant order."""
        return [one.schema() for one in self.tools.values()]

    def describe(self) -> list[dict[str, Any]]:
        """Every tool with its effect, summary, layer and hash."""
        return [
            {"kind": "tool", "name": t.name, "effect": t.effect, "summary": t.signature.summary}
            | {"path": str(t.found.path), "origin": t.found.origin, "sha256": t.found.sha256}
            for t in self.tools.values()
        ]

    async def call(self, name: str, arguments: Mapping[str, Any], ctx: ToolContext) -> ToolResult:
        """Call a tool; every failure comes back as a result with a code and a next step."""
        called = self.tools.get(name)
        if called is None:
            close = nearest(name, self.tools)
            known = f"tools: {', '.join(self.tools)}"
            return ToolResult.failed("unknown_tool", f"there is no tool {name!r}", f"call {close}" if close else known)
        if refusal := _refused(called, ctx):
            return refusal
        usage = f"call {name}({', '.join(a.name + ('' if a.required else '?') for a in called.signature.arguments)})"
        problem = "the arguments are no object" if not isinstance(arguments, Mapping) else None
        if problem := problem or called.signature.problem(arguments):
            return ToolResult.failed("bad_argument", problem, usage)
        try:
            bound = called.signature.bind(arguments)
        except ValueError as error:
            return ToolResult.failed("bad_argument", str(error), usage)
        return await _run(called, bound, ctx)


def _refused(called: Tool, ctx: ToolContext) -> ToolResult | None:
    """The refusal of a tool whose effect this agent may not have at all, or None."""
    if called.effect != "read" and not ctx.agent.writes:
        what = f"{ctx.agent.name} may write nothing, and {called.name} {_EFFECTS[called.effect]}"
    elif ctx.reads is not None and not called.keeps_to_reads:
        what = f"{ctx.agent.name} reads only the files it was given, and {called.name} shows more"
    else:
        return None
    return _failed(called, ctx, ToolFailure("not_allowed", what, "do without it, and say so in your report"))


def _failed(called: Tool, ctx: ToolContext, failure: ToolFailure) -> ToolResult:
    """A failure as a result; one that left the agent's scope is an event too."""
    error = failure.error
    if error.code in VIOLATIONS:
        told = {"agent": ctx.agent.name, "tool": called.name, "call": ctx.call_id, "what": error.what[:400]}
        ctx.events.once(f"{ctx.call_id}/violation", "violation", **told)
    return ToolResult(False, {}, error)


async def _run(called: Tool, arguments: dict[str, Any], ctx: ToolContext) -> ToolResult:
    try:
        data = await called.function(ctx, **arguments)
        if not isinstance(data, dict):
            raise TypeError(f"a tool returns a dict, {called.name} returned {type(data).__name__}")
    except ToolFailure as failure:
        return _failed(called, ctx, failure)
    except NightlabError as error:
        return ToolResult.of_error(error)
    except Exception as error:  # noqa: BLE001 - a defect in one tool must not end the night; it is logged and told
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        what = f"{type(error).__name__}: {str(error)[:500]} at {place}"
        ctx.events.emit("error", tool=called.name, call=ctx.call_id, what=what, trace=traceback.format_exc()[-4000:])
        next_step = "this is a defect of the tool: go on without it and note it with note_scaffolding"
        return ToolResult.failed("tool_defect", what, next_step)
    return ToolResult(True, data)


def load_tool(name: str, found: Found) -> Tool:
    """One tool file: exactly one function under @tool, named as the file. Raises SpecError."""
    module = _execute(name, found.path)
    marked = {n: v for n, v in vars(module).items() if callable(v) and "nightlab_effect" in getattr(v, "__dict__", {})}
    if set(marked) != {name}:
        has = ", ".join(marked) or "none"
        hint = f"one function `@tool(effect=…) async def {name}(ctx, …)` per file"
        raise SpecError(f"functions under @tool: {has}; expected {name}", where=found.path, hint=hint)
    function = marked[name]
    effect = function.nightlab_effect
    if effect not in get_args(Effect):
        raise SpecError(f"effect is {effect!r}", where=found.path, hint=f"one of {', '.join(get_args(Effect))}")
    keeps = bool(function.__dict__.get("nightlab_keeps_to_reads"))
    return Tool(name, effect, function, tool_signature.read(function, found.path), found, keeps)


def readme(source: Lab | Path) -> str:
    """The text of tools/README.md for a lab or a tools folder, from the docstrings."""
    box = Toolbox.load(source) if isinstance(source, Lab) else Toolbox.load_folder(source)
    lines = ["# Tools", "", "What agents can call. This page is generated from the docstrings: change those.", ""]
    lines += ["| tool | effect | what it does |", "|---|---|---|"]
    lines += [f"| [`{t.name}`](#{t.name}) | {t.effect} | {t.signature.summary} |" for t in box.tools.values()]
    lines += ["", "Effects: " + ", ".join(f"{name} ({words})" for name, words in _EFFECTS.items()) + "."]
    for one in box.tools.values():
        lines += ["", *_page(one)]
    return "\n".join(lines) + "\n"


def _page(one: Tool) -> list[str]:
    text = one.signature.description.removesuffix(f"\n\nReturns: {one.signature.returns}")
    lines = [f"## {one.name}", "", f"*{one.effect}.* {text}"]
    lines += one.signature.table()
    return [*lines, "", f"Returns {one.signature.returns}"] if one.signature.returns else lines


def _found(source: Lab | Path) -> dict[str, Found]:
    if isinstance(source, Lab):
        files = {Path(key).stem: found for key, found in look_up_all(source, "tools", "*.py").items()}
    else:
        files = {path.stem: Found(path, "shipped", sha256_file(path)) for path in sorted(source.glob("*.py"))}
    return {name: found for name, found in files.items() if not name.startswith("_")}


class _SourceLoader(SourceFileLoader):
    """Compiles the source as it is now: no cached bytecode of an older edit, no __pycache__ in a lab."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _execute(name: str, path: Path) -> ModuleType:
    """Run a tool file as the module `nightlab_tools.<name>`. Raises SpecError with the line that failed."""
    full_name = f"nightlab_tools.{name}"
    spec = importlib.util.spec_from_file_location(full_name, path, loader=_SourceLoader(full_name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SpecError(f"not Python: {error.msg}", where=f"{path}:{error.lineno}") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else path
        raise SpecError(f"cannot be loaded: {type(error).__name__}: {error}", where=where) from error
    return module

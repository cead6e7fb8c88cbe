"""Proposals: skills, tools and known failures that agents would like to have, kept apart until a person accepts them.

`proposals/<kind>/<name>/` holds the file as it would stand in the lab, and proposal.json with who proposed it and why.
What is proposed is checked and never executed here: a tool is only parsed. Limit: that a tool does what it says is for
the person who accepts it to read; the whole text or the difference is shown.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nightlab import skills, tool_signature
from nightlab.errors import SpecError, UsageError, nearest
from nightlab.files import read_text, sha256_text, write_atomic
from nightlab.lab import Found, Lab, look_up
from nightlab.servers.failures import signatures
from nightlab.servers.failures.trial import try_out

Kind = Literal["skill", "tool", "failure"]
EFFECTS = ("read", "write", "compute", "money")
LONGEST = 40_000  # characters of one proposed file
_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{2,39}")
_ABOUT = "proposal.json"
_LOG = "log.txt"  # beside a proposed failure: what it was learned from, and its test


@dataclass(frozen=True)
class Proposal:
    """One open proposal; `problem` says why it cannot be accepted as it stands."""

    kind: Kind
    name: str
    path: Path
    target: str
    """Where its file would stand, relative to the lab's root."""
    why: str = ""
    agent: str = ""
    night: str = ""
    problem: str | None = None

    @property
    def folder(self) -> Path:
        """The folder that holds it."""
        return self.path.parent


def place(lab: Lab, kind: Kind, name: str) -> tuple[Path, str]:
    """Where the file of a proposal stands, and where it would stand once it is accepted."""
    file, target = {
        "skill": ("SKILL.md", f"skills/{name}/SKILL.md"),
        "tool": (f"{name}.py", f"tools/{name}.py"),
        "failure": (f"{name}.yaml", f"state/failures/{name}.yaml"),
    }[kind]
    return lab.proposals / f"{kind}s" / name / file, target


def write(lab: Lab, kind: Kind, name: str, text: str, about: Mapping[str, str], log: str = "") -> Proposal:
    """Keep a checked proposal; one of the same name is replaced. `log` is what a failure was learned from.

    Raises SpecError where the text is none.
    """
    with tempfile.TemporaryDirectory(prefix="nightlab-") as scratch:
        write_atomic(Path(scratch) / _LOG, log)
        check(kind, name, text, Path(scratch) / _LOG)
    path, _ = place(lab, kind, name)
    if kind == "failure":
        write_atomic(path.parent / _LOG, log)
    write_atomic(path, text if text.endswith("\n") else text + "\n")
    write_atomic(path.parent / _ABOUT, json.dumps({"v": 1, **about}, ensure_ascii=False, indent=1) + "\n")
    return read(lab, kind, name)


def read(lab: Lab, kind: Kind, name: str) -> Proposal:
    """One proposal, checked again as it stands. Raises UsageError where there is none."""
    path, target = place(lab, kind, name)
    text = read_text(path, UsageError)
    about: dict[str, Any] = {}
    try:
        about = json.loads(read_text(path.parent / _ABOUT, UsageError))
        check(kind, name, text, path.parent / _LOG)
        problem = None
    except (UsageError, ValueError) as error:
        problem = str(error)
    words = {key: str(about.get(key, "")) for key in ("why", "agent", "night")}
    return Proposal(kind, name, path, target, **words, problem=problem)


def open_ones(lab: Lab) -> list[Proposal]:
    """Every proposal that waits for a person."""
    found = []
    for kind in get_args(Kind):
        folders = sorted((lab.proposals / f"{kind}s").glob("*/"))
        found += [read(lab, kind, folder.name) for folder in folders if place(lab, kind, folder.name)[0].is_file()]
    return found


def find(lab: Lab, name: str) -> Proposal:
    """The open proposal of a name, or of `kind/name`. Raises UsageError naming the nearest."""
    every = open_ones(lab)
    hits = [one for one in every if name in (one.name, f"{one.kind}/{one.name}")]
    if len(hits) == 1:
        return hits[0]
    if hits:
        said = [f"{one.kind}/{one.name}" for one in hits]
        raise UsageError(f"several things are proposed under the name {name}", hint=f"say {' or '.join(said)}")
    close = nearest(name, [one.name for one in every])
    hint = f"did you mean {close}?" if close else "`nightlab accept` lists what is proposed"
    raise UsageError(f"nothing is proposed under the name {name!r}", where=lab.proposals, hint=hint)


def difference(lab: Lab, proposal: Proposal) -> str:
    """The proposed text against the file that is used now, as a unified diff; against nothing where there is none."""
    kind, _, name = proposal.target.partition("/")
    try:
        found = look_up(lab, kind, name)
        old, label = read_text(found.path, UsageError), f"{proposal.target} ({found.origin})"
    except UsageError:
        old, label = "", "/dev/null"
    new = read_text(proposal.path, UsageError)
    rows = difflib.unified_diff(old.splitlines(), new.splitlines(), label, proposal.target, lineterm="")
    return "\n".join(rows)


def accept(lab: Lab, proposal: Proposal) -> list[Path]:
    """Put a proposal's file where it takes effect, and take the proposal away; the paths that changed.

    Raises SpecError for one that does not fit its format.
    """
    if proposal.problem:
        raise SpecError("this proposal cannot be accepted", where=proposal.path, hint=proposal.problem)
    target = lab.root / proposal.target
    if not target.resolve().is_relative_to(lab.root.resolve()):
        raise UsageError(f"{proposal.target} leads out of the lab", where=lab.root)
    changed = [target, proposal.folder]
    if proposal.kind == "failure":
        changed.append(target.with_suffix(".log"))
        write_atomic(changed[-1], read_text(proposal.folder / _LOG, UsageError))
    write_atomic(target, read_text(proposal.path, UsageError))
    shutil.rmtree(proposal.folder)
    return changed


def check(kind: Kind, name: str, text: str, log: Path | None = None) -> None:
    """Whether a text is a skill, tool or known failure of this name. Raises SpecError.

    A tool is parsed and not executed; a failure must name its own `log`, and no log of a server that was well.
    """
    check_name(kind, name)
    if len(text) > LONGEST:
        raise SpecError(f"the text has {len(text)} characters, at most {LONGEST} are allowed")
    if kind == "skill":
        _check_skill(name, text)
    elif kind == "tool":
        _check_tool(name, text)
    else:
        _check_failure(name, text, log)


def check_name(kind: Kind, name: str) -> None:
    """Whether this can be the name of a skill or tool: it becomes a path. Raises SpecError."""
    if kind == "skill" and not (skills.NAME.fullmatch(name) and len(name) <= 64):
        raise SpecError(f"{name!r} cannot be a skill's name", hint="lowercase letters, digits and single hyphens")
    if kind == "failure" and not signatures.NAME.fullmatch(name):
        raise SpecError(f"{name!r} cannot be a class", hint="lowercase letters, digits and underscores")
    if kind == "tool" and not _TOOL_NAME.fullmatch(name):
        raise SpecError(f"{name!r} cannot be a tool's name", hint="lowercase letters, digits and underscores")


def _check_skill(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="nightlab-") as scratch:
        path = Path(scratch) / name / "SKILL.md"
        write_atomic(path, text)
        try:
            skills.read(Found(path, "lab", sha256_text(text)))
        except SpecError as error:
            where = (error.where or "").replace(scratch, "").lstrip("/")
            raise SpecError(error.what, where=where, hint=error.hint) from error


def _check_failure(name: str, text: str, log: Path | None) -> None:
    known = signatures.read_entry(text, f"{name}.yaml")
    if list(known) != [name]:
        raise SpecError(f"the entry is of {', '.join(known)}, not of {name}")
    with tempfile.TemporaryDirectory(prefix="nightlab-") as scratch:
        path = Path(scratch) / f"{name}.yaml"
        write_atomic(path, text)
        try_out(path, log or Path(scratch) / _LOG)


def _check_tool(name: str, text: str) -> None:
    where = f"{name}.py"
    try:
        module = ast.parse(text, where)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SpecError(f"not Python: {error}", where=f"{where}:{line}") from error
    marked = [node for node in module.body if _is_tool(node)]
    if [getattr(node, "name", "") for node in marked] != [name]:
        raise SpecError(f"no one function `@tool(effect=...) async def {name}(ctx, ...)`", where=where)
    function = marked[0]
    if not isinstance(function, ast.AsyncFunctionDef):
        raise SpecError("a tool is an async function", where=f"{where}:{function.lineno}")
    _check_function(function, f"{where}:{function.lineno}")


def _is_tool(node: ast.stmt) -> bool:
    """Whether a statement is a function with the decorator `@tool(...)`."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
    return any(isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "tool" for d in decorators)


def _check_function(function: ast.AsyncFunctionDef, where: str) -> None:
    [decorator] = [d for d in function.decorator_list if isinstance(d, ast.Call)]
    values = [k.value for k in decorator.keywords if k.arg == "effect"] + decorator.args
    effect = values[0].value if values and isinstance(values[0], ast.Constant) else None
    if effect not in EFFECTS:
        raise SpecError(f"effect is {effect!r}", where=where, hint=f"one of {', '.join(EFFECTS)}, written out")
    names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    if names[:1] != ["ctx"]:
        raise SpecError("the first parameter of a tool is ctx: ToolContext", where=where)
    summary, _, words, _ = tool_signature.read_docstring(ast.get_docstring(function) or "")
    if not summary:
        raise SpecError("no docstring: it is what a model reads about the tool", where=where)
    if set(words) != set(names[1:]):
        raise SpecError(f"Args: explains {sorted(words)}, the arguments are {sorted(names[1:])}", where=where)
    if any(a.annotation is None for a in (*function.args.args[1:], *function.args.kwonlyargs)):
        raise SpecError("an argument has no type", where=where)

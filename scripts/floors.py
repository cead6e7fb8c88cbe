"""The house rules about imports and names, checked from the source text without running it.

- A room imports only from lower floors (or from itself); the ground floor is one room of single files.
- No circles between modules, and no private names of another room.
- Light modules, which every command loads, reach no heavy package at import time, not even through others.
- No class or file is called by a word that says nothing (Manager, Helper, utils, ...).

Limits: names reached with getattr or importlib are not seen.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

FLOORS = (
    (
        "__init__",
        "errors",
        "secrets",
        "strict_yaml",
        "json_line",
        "together",
        "files",
        "settings",
        "lab",
        "events",
        "budget",
        "front_matter",
    ),
    ("compute", "job", "job_folder", "processes", "adapters", "brains", "practice"),
    ("servers",),
    ("experiments",),
    ("judging", "runs", "training"),
    ("evidence",),
    ("record",),
    ("audit",),
    (
        "agents",
        "skills",
        "proposals",
        "toolbox",
        "scopes",
        "tool_signature",
        "tool_result",
        "tool_context",
    ),
    ("night",),
    ("morning", "founding"),
    ("cli", "__main__", "testing"),
)
ONE_ROOM = (
    FLOORS[0],
    FLOORS[8],
    ("compute", "job", "job_folder", "processes"),
    FLOORS[11],
)  # files that make one room together
TOOLS_SEE = 9  # tools/*.py stand above this floor
LIGHT = ("errors", "secrets", "json_line", "files", "settings", "lab", "events", "budget", "cli", "__main__")
HEAVY = frozenset(
    [
        "torch",
        "transformers",
        "peft",
        "safetensors",
        "tokenizers",
        "numpy",
        "pandas",
        "matplotlib",
        "langgraph",
        "langchain_core",
        "anthropic",
        "aiohttp",
        "pydantic",
        "git",
        "jinja2",
    ]
)
NOTHING = re.compile(r"Manager|Handler|Helper|Utils?|^(Base|Abstract)[A-Z]|Factory")
NOTHING_FILES = re.compile(r"(^|_)(manager|handler|helper|helpers|util|utils|base|abstract|factory|misc|common)(_|$)")


@dataclass(frozen=True)
class Import:
    """One imported module or name: `target` is dotted; `eager` if it runs when the importing module is loaded."""

    source: str
    target: str
    line: int
    eager: bool


@dataclass(frozen=True)
class Module:
    """A source file under its dotted name."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The room it stands in; `tools` for a tool."""
        parts = self.name.split(".")
        return parts[0] if parts[0] != "nightlab" else (parts[1] if len(parts) > 1 else "__init__")

    def imports(self) -> Iterator[Import]:
        """Everything it imports, at load time or later."""
        eager = set(_at_load(self.tree))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in _targets(node, self):
                    yield Import(self.name, target, node.lineno, node in eager)


def _at_load(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when a module is loaded: not in functions, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_load(child)


def _targets(node: ast.Import | ast.ImportFrom, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = module.name.split(".")[: -1 if module.path.name != "__init__.py" else None]
    above = package[: len(package) - node.level + 1] if node.level else []
    start = ".".join([*above, *([node.module] if node.module else [])])
    return [f"{start}.{alias.name}" for alias in node.names]


def read(root: Path) -> dict[str, Module]:
    """Every module of src/nightlab, and the tools, by dotted name."""
    modules = {}
    for base, folder in ((root / "src", root / "src" / "nightlab"), (root, root / "tools")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))
    return modules


def floor(room: str) -> int | None:
    """The floor of a room; None for a room that the table does not know."""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def room_of(target: str) -> str:
    """The room of an imported `nightlab...` name."""
    parts = target.split(".")
    return parts[1] if len(parts) > 1 and floor(parts[1]) is not None else "__init__"


def wrong_floor(module: Module) -> Iterator[str]:
    """Imports that do not go down."""
    here = TOOLS_SEE + 1 if module.room == "tools" else floor(module.room)
    if here is None:
        yield f"{module.name}: the room {module.room!r} stands on no floor (scripts/floors.py)"
        return
    for item in module.imports():
        if item.target.split(".")[0] != "nightlab":
            continue
        room = room_of(item.target)
        together = room == module.room or any(room in rooms and module.room in rooms for rooms in ONE_ROOM)
        if not together and (floor(room) or 0) >= here:
            yield f"{module.name}:{item.line} imports {item.target}, which is not on a lower floor"


def private_names(module: Module) -> Iterator[str]:
    """Private names of another room."""
    for item in module.imports():
        private = [p for p in item.target.split(".") if p.startswith("_") and not p.startswith("__")]
        if item.target.startswith("nightlab.") and private and room_of(item.target) != module.room:
            yield f"{module.name}:{item.line} imports {item.target}, a private name of another room"


def dull_names(module: Module) -> Iterator[str]:
    """Files and classes whose name says nothing."""
    if NOTHING_FILES.search(module.path.stem):
        yield f"{module.name}: a file name that says nothing; name the thing"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and NOTHING.search(node.name):
            yield f"{module.name}:{node.lineno} class {node.name}: a name that says nothing"


def loads(modules: dict[str, Module]) -> dict[str, set[str]]:
    """For each module the modules of ours and the outside packages that its loading loads directly."""
    graph: dict[str, set[str]] = {}
    for name, module in modules.items():
        targets = [item.target for item in module.imports() if item.eager]
        graph[name] = {_module(target, modules) for target in targets} - {name}
    return graph


def _module(target: str, modules: dict[str, Module]) -> str:
    """The module of ours that holds the imported name, else the outside package."""
    for name in (target, target.rpartition(".")[0]):
        if name in modules:
            return name
    return target.split(".")[0]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """One sentence for a circle of imports, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a circle of imports: " + " -> ".join(reversed(error.args[1]))]
    return []


def heavy(graph: dict[str, set[str]]) -> Iterator[str]:
    """Light modules that load a heavy package, with the way to it."""
    for name in graph:
        room = name.split(".")[1] if name.count(".") else ""
        way = _way(name, graph) if name.startswith("nightlab.") and room in LIGHT else None
        if way:
            yield f"{name} is light but loads {way[-1]}: {' -> '.join(way)}"


def _way(start: str, graph: dict[str, set[str]]) -> list[str] | None:
    """A shortest way of imports from a module to a heavy package. Loading a module loads the packages above it."""
    ways, seen = [[start]], {start}
    for way in ways:
        if way[-1] in HEAVY:
            return way
        parents = {way[-1].rpartition(".")[0]} - {""}
        for target in sorted(graph.get(way[-1], set()) | parents):
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return None


def check(root: Path) -> list[str]:
    """Every rule that does not hold in the tree under root, one sentence each."""
    modules = read(root)
    graph = loads(modules)
    found = [line for m in modules.values() for rule in (wrong_floor, private_names, dull_names) for line in rule(m)]
    return [*found, *circles(graph), *heavy(graph)]


def main(root: Path) -> int:
    """Print what does not hold; 1 if there is something."""
    found = check(root)
    print("\n".join(found) if found else f"floors: {len(read(root))} modules, every import goes down")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))

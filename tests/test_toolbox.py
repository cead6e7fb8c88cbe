"""Tools load from a lab and from the shipped layer, describe themselves, and answer every call with a result."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from nightlab import toolbox
from nightlab.agents import AgentSpec
from nightlab.budget import Budget, Limits
from nightlab.errors import BudgetExceeded, NightlabError, SpecError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.tool_result import ToolResult
from nightlab.toolbox import Toolbox, ToolContext, ToolFailure, Works

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import Any, Literal
from nightlab.errors import UsageError
from nightlab.toolbox import ToolContext, ToolFailure, tool
"""
GREET = '''
@dataclass
class Guest:
    name: str

@tool(effect="read")
async def greet(
    ctx: ToolContext,
    title: str,
    times: int = 1,
    mood: Literal["glad", "dry"] | None = None,
    tags: list[str] | None = None,
    facts: dict[str, float] | None = None,
    guest: Guest | None = None,
) -> dict[str, Any]:
    """Greet somebody.

    Says it as often as asked.

    Args:
        title: who is greeted,
            by name
        times: how often | at all
        mood: the tone
        tags: any words
        facts: numbers by name
        guest: a person

    Returns:
        The greeting.
    """
    if title == "nobody":
        raise ToolFailure("no_guest", "nobody is there", "greet somebody")
    if title == "wrong":
        raise UsageError("a wrong guest", where="door", hint="ask the host")
    if title == "bug":
        raise RuntimeError("oops")
    if title == "list":
        return [title]
    return {"text": f"hello {title} " * times, "mood": mood, "guest": guest, "night": ctx.night}
'''


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    (tmp_path / "tools").mkdir()
    return Lab.open(tmp_path)


def write(lab: Lab, name: str, text: str) -> Path:
    path = lab.root / "tools" / f"{name}.py"
    path.write_text(HEAD + text)
    return path


def context(lab: Lab, writes: tuple[str, ...] = ()) -> ToolContext:
    agent = AgentSpec(name="orchestrator", description="d", prompt="p", writes=writes)
    folder = lab.night("n1")
    events, budget = EventLog(folder), Budget(folder / "ledger.jsonl", Limits())
    return ToolContext(lab, "n1", agent, events, budget, cast(Works, None), call_id="c1")


def test_the_schema_comes_from_the_signature_and_the_docstring(lab: Lab) -> None:
    write(lab, "greet", GREET)
    [schema] = Toolbox.load(lab, ["greet"]).schemas()
    assert schema["name"] == "greet"
    assert schema["description"] == "Greet somebody.\n\nSays it as often as asked.\n\nReturns: The greeting."
    body = schema["input_schema"]
    assert body["required"] == ["title"]
    assert body["additionalProperties"] is False
    properties = body["properties"]
    assert properties["title"] == {"type": "string", "description": "who is greeted, by name"}
    assert properties["times"] == {"type": "integer", "default": 1, "description": "how often | at all"}
    assert properties["mood"]["anyOf"][0]["enum"] == ["glad", "dry"]
    assert properties["tags"]["anyOf"][0] == {"type": "array", "items": {"type": "string"}}
    assert properties["facts"]["anyOf"][0]["additionalProperties"] == {"type": "number"}
    assert properties["guest"]["anyOf"][0] == {"$ref": "#/$defs/Guest"}
    assert body["$defs"]["Guest"]["properties"] == {"name": {"type": "string"}}
    json.dumps(schema)


async def test_a_call_binds_typed_arguments_and_returns_data(lab: Lab) -> None:
    write(lab, "greet", GREET)
    box = Toolbox.load(lab, ["greet"])
    result = await box.call("greet", {"title": "Ada", "times": 2, "guest": {"name": "Bo"}}, context(lab))
    assert result.ok
    assert result.data["text"] == "hello Ada hello Ada "
    assert result.data["guest"].name == "Bo"
    answer = json.loads(result.to_json())
    assert answer["data"]["guest"] == {"name": "Bo"}
    assert answer["data"]["night"] == "n1"


@pytest.mark.parametrize(
    ("name", "arguments", "code", "what", "next_step"),
    [
        ("gret", {"title": "x"}, "unknown_tool", "'gret'", "call greet"),
        ("zzz", {}, "unknown_tool", "'zzz'", "tools: greet"),
        ("greet", {"titel": "x"}, "bad_argument", "did you mean 'title'?", "call greet(title, times?"),
        ("greet", {"qqq": "x"}, "bad_argument", "there is no argument 'qqq'", "call greet("),
        ("greet", {}, "bad_argument", "missing: title", "call greet("),
        ("greet", {"title": "x", "times": "many"}, "bad_argument", "times: Input should be a valid integer", "call"),
        ("greet", {"title": "x", "guest": {}}, "bad_argument", "guest.", "call"),
        ("greet", ["x"], "bad_argument", "the arguments are no object", "call"),
        ("greet", {"title": "nobody"}, "no_guest", "nobody is there", "greet somebody"),
        ("greet", {"title": "wrong"}, "usage_error", "a wrong guest (door)", "ask the host"),
        ("greet", {"title": "bug"}, "tool_defect", "RuntimeError: oops at greet.py:", "go on without it"),
        ("greet", {"title": "list"}, "tool_defect", "greet returned list", "go on without it"),
    ],
)
async def test_every_failure_is_a_code_a_sentence_and_a_next_step(
    lab: Lab, name: str, arguments: Any, code: str, what: str, next_step: str
) -> None:
    write(lab, "greet", GREET)
    ctx = context(lab)
    result = await Toolbox.load(lab, ["greet"]).call(name, arguments, ctx)
    assert not result.ok
    assert result.error is not None
    assert result.error.code == code
    assert what in result.error.what
    assert next_step in result.error.next
    assert json.loads(result.to_json())["error"]["code"] == code
    assert [e["kind"] for e in ctx.events.read()] == (["error"] if code == "tool_defect" else [])


def test_error_codes_are_class_names_in_snake_case() -> None:
    codes = [ToolResult.of_error(e).error for e in (BudgetExceeded("x", limit="usd"), NightlabError("y"))]
    assert [c.code for c in codes if c] == ["budget_exceeded", "nightlab_error"]
    assert all(c.next for c in codes if c)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "not Python"),
        ("import nothing_like_this\n", "nothing_like_this"),
        ("x = 1\n", "functions under @tool: none; expected bad"),
        ('@tool(effect="read")\nasync def other(ctx: ToolContext) -> dict[str, Any]:\n    "D."\n', "other"),
        ('@tool(effect="magic")\nasync def bad(ctx: ToolContext) -> dict[str, Any]:\n    "D."\n', "'magic'"),
        ('@tool(effect="read")\ndef bad(ctx: ToolContext) -> dict[str, Any]:\n    "D."\n', "async"),
        ('@tool(effect="read")\nasync def bad(path: str) -> dict[str, Any]:\n    "D."\n', "first parameter"),
        ('@tool(effect="read")\nasync def bad(ctx: ToolContext):\n    "D."\n', "result has no type"),
        ('@tool(effect="read")\nasync def bad(ctx: ToolContext) -> dict[str, Any]:\n    return {}\n', "no docstring"),
        (
            '@tool(effect="read")\nasync def bad(ctx: ToolContext, a: int) -> dict[str, Any]:\n    "D."\n',
            "not explained",
        ),
        (
            '@tool(effect="read")\nasync def bad(ctx: ToolContext) -> dict[str, Any]:\n    """D.\n\n    Args:\n'
            '        ghost: boo\n    """\n',
            "'ghost'",
        ),
        (
            '@tool(effect="read")\nasync def bad(ctx: ToolContext, a) -> dict[str, Any]:\n    """D.\n\n    Args:\n'
            '        a: boo\n    """\n',
            "has no type",
        ),
        (
            '@tool(effect="read")\nasync def bad(ctx: ToolContext, *a: int) -> dict[str, Any]:\n'
            '    """D.\n\n    Args:\n        a: boo\n    """\n',
            "names its arguments",
        ),
        (
            '@tool(effect="read")\nasync def bad(ctx: ToolContext, a: Nope) -> dict[str, Any]:\n'
            '    """D.\n\n    Args:\n        a: boo\n    """\n',
            "annotation",
        ),
        (
            'class Odd: ...\n@tool(effect="read")\nasync def bad(ctx: ToolContext, a: Odd) -> dict[str, Any]:\n'
            '    """D.\n\n    Args:\n        a: boo\n    """\n',
            "cannot be described",
        ),
    ],
)
def test_a_wrong_tool_file_is_refused_by_name(lab: Lab, text: str, message: str) -> None:
    path = write(lab, "bad", text)
    with pytest.raises(SpecError) as caught:
        Toolbox.load(lab, ["bad"])
    assert message in caught.value.what
    assert str(path) in (caught.value.where or "")


def test_a_broken_line_is_named(lab: Lab) -> None:
    path = write(lab, "bad", "\n\n1 / 0\n")
    with pytest.raises(SpecError) as caught:
        Toolbox.load(lab, ["bad"])
    assert caught.value.where == f"{path}:8"


def test_an_unknown_name_is_refused_with_the_nearest(lab: Lab) -> None:
    write(lab, "greet", GREET)
    with pytest.raises(SpecError, match="'gret'") as caught:
        Toolbox.load(lab, ["gret"])
    assert caught.value.hint == "did you mean greet?"


def test_an_edit_is_seen_at_once_and_nothing_is_left_beside_the_file(lab: Lab) -> None:
    path = write(lab, "greet", GREET)
    before = path.stat()
    assert Toolbox.load(lab, ["greet"]).tools["greet"].signature.summary == "Greet somebody."
    path.write_text(path.read_text().replace("Greet somebody.", "Greet everybody"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    box = Toolbox.load(lab, ["greet"])
    assert box.tools["greet"].signature.summary == "Greet everybody"
    assert box.describe()[0]["origin"] == "lab"
    assert [p.name for p in path.parent.iterdir()] == ["greet.py"]
    assert str(lab.root) not in sys.path


def test_the_write_scope_resolves_links_and_dots(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    ctx = context(lab, writes=("experiments/**", "state/*.md", "scaffolding_notes.md", "**/.git/*", "a?c"))
    (lab.root / "experiments" / "exp_001_x").mkdir(parents=True)
    (lab.root / "experiments" / "link").symlink_to(outside)
    (lab.root / "experiments" / "tools").symlink_to(lab.root / "tools")
    allowed = [
        "experiments/exp_001_x/deep/a.txt",
        "state/x.md",
        "scaffolding_notes.md",
        "experiments/../state/y.md",
        "abc",
    ]
    assert [path for path in allowed if not ctx.may_write(path)] == []
    refused = [
        "tools/x.py",
        "experiments/../tools/x.py",
        "experiments/link/x",
        "experiments/tools/x.py",
        "state/nights/n1/events.jsonl",
        "../elsewhere",
        "/etc/passwd",
        "experiments/x/.git/config",
        ".git/config",
        "a/c",
    ]
    assert [path for path in refused if ctx.may_write(path)] == []
    assert ctx.writable("state/x.md") == lab.root / "state" / "x.md"
    with pytest.raises(ToolFailure) as failure:
        ctx.writable("tools/x.py")
    assert failure.value.error.code == "not_allowed"
    assert "experiments/**" in failure.value.error.next
    with pytest.raises(ToolFailure) as failure:
        ctx.inside("experiments/link/x")
    assert failure.value.error.code == "outside_lab"


def test_a_long_result_is_cut_and_says_so() -> None:
    data = {"text": "x" * 100_000, "rows": list(range(1000)), "bad": float("nan"), "path": Path("a/b"), "s": "\ud800"}
    text = ToolResult(True, data).to_json(limit=10_000)
    assert len(text) <= 10_000
    body = json.loads(text)["data"]
    assert "of 100000 characters]" in body["text"]
    assert body["rows"][-1].startswith("[cut: the first ")
    assert body["bad"] is None
    assert body["path"] == "a/b"
    text.encode("utf-8")


def test_a_result_of_very_many_keys_still_answers_with_json() -> None:
    text = ToolResult(True, {f"key{n}": "x" * 100 for n in range(5000)}).to_json(limit=5_000)
    assert len(text) <= 5_000
    answer = json.loads(text)
    assert answer["ok"]
    assert "ask for less" in answer["cut"]


def test_the_readme_lists_every_tool_with_its_arguments(lab: Lab) -> None:
    write(lab, "greet", GREET)
    (lab.root / "tools" / "_shared.py").write_text("no tool\n")
    text = toolbox.readme(lab.root / "tools")
    assert "| [`greet`](#greet) | read | Greet somebody. |" in text
    assert "| `times` | integer | `1` | how often \\| at all |" in text
    assert "| `mood` | `glad`, `dry` or null | `None` | the tone |" in text
    assert "| `tags` | list of string or null |" in text
    assert "Returns The greeting." in text
    assert "_shared" not in text
    assert "greet" in toolbox.readme(lab)

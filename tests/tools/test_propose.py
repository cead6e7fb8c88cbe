"""Proposals are checked, kept apart, noted once, and never executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab import proposals
from nightlab.errors import SpecError
from nightlab.toolbox import Toolbox
from tests.tools.conftest import Night, files

SKILL = "---\nname: seeing\ndescription: How to see.\n---\nLook.\n"
TOOL = '''\
"""Count lines."""

from typing import Any

from nightlab.toolbox import ToolContext, tool


@tool(effect="read")
async def count_lines(ctx: ToolContext, path: str) -> dict[str, Any]:
    """Count the lines of a file.

    Args:
        path: The file.
    """
    return {"lines": 1}
'''


async def test_a_proposal_is_kept_noted_and_not_used(night: Night) -> None:
    for call_id in ("a", "a"):
        done = await night.call("propose", call_id=call_id, kind="skill", name="seeing", text=SKILL, why="it was dark")
        assert done.data == {"path": "proposals/skills/seeing/SKILL.md", "target": "skills/seeing/SKILL.md"}
    [one] = proposals.open_ones(night.lab)
    assert (one.kind, one.name, one.why, one.agent, one.problem) == (
        "skill",
        "seeing",
        "it was dark",
        "orchestrator",
        None,
    )
    assert night.lab.notes.read_text().count("skill seeing is proposed in proposals/skills/seeing/SKILL.md") == 1
    assert [row["what"] for row in night.events.read() if row["kind"] == "proposal"] == ["skill seeing"]
    assert not (night.lab.root / "skills").exists()


async def test_a_proposed_tool_is_parsed_and_not_executed(night: Night, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    text = TOOL + f"\nopen({str(trap)!r}, 'w').close()\n"
    assert (await night.call("propose", kind="tool", name="count_lines", text=text, why="w")).ok
    assert "count_lines" not in Toolbox.load(night.lab).tools
    assert not trap.exists()
    assert "count_lines" in proposals.difference(night.lab, proposals.find(night.lab, "tool/count_lines"))


@pytest.mark.parametrize(
    ("kind", "name", "text", "what"),
    [
        ("skill", "seeing", "no front matter", "no front matter"),
        ("skill", "looking", SKILL, "not the folder's"),
        ("skill", "../x", SKILL, "cannot be a skill's name"),
        ("tool", "../x", TOOL, "cannot be a tool's name"),
        ("tool", "count_lines", "def (", "not Python"),
        ("tool", "count_words", TOOL, "no one function"),
        ("tool", "count_lines", TOOL.replace("async def", "def"), "async function"),
        ("tool", "count_lines", TOOL.replace('"read"', '"all"'), "effect is 'all'"),
        ("tool", "count_lines", TOOL.replace('effect="read"', "effect=EFFECT"), "effect is None"),
        ("tool", "count_lines", TOOL.replace("ctx: ToolContext, ", ""), "first parameter"),
        ("tool", "count_lines", TOOL.replace("        path: The file.\n", ""), "Args: explains"),
        ("tool", "count_lines", TOOL.replace("path: str", "path"), "no type"),
        ("tool", "count_lines", "x = 1\n" * 20_000, "characters"),
    ],
)
async def test_a_wrong_proposal_leaves_nothing(night: Night, kind: str, name: str, text: str, what: str) -> None:
    before = files(night.lab)
    refused = await night.call("propose", kind=kind, name=name, text=text, why="w")
    assert refused.error is not None
    assert what in refused.error.what
    assert files(night.lab) == before


async def test_what_was_changed_afterwards_is_checked_again(night: Night) -> None:
    await night.call("propose", kind="skill", name="seeing", text=SKILL, why="w")
    found = proposals.find(night.lab, "seeing")
    found.path.write_text("broken")
    found = proposals.find(night.lab, "seeing")
    assert "no front matter" in (found.problem or "")
    with pytest.raises(SpecError, match="cannot be accepted"):
        proposals.accept(night.lab, found)


async def test_a_skill_is_read_by_name_with_what_lies_beside_it(night: Night) -> None:
    folder = night.lab.root / "skills" / "judging"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: judging\ndescription: d\n---\nOurs.\n")
    (folder / "table.md").write_text("a table")
    assert (await night.call("read_skill", name="judging")).data == {
        "name": "judging",
        "text": "Ours.",
        "files": ["table.md"],
    }
    assert (await night.call("read_skill", name="judging", file="table.md")).data["text"] == "a table"
    for arguments, code in (
        ({"name": "jugding"}, "unknown_skill"),
        ({"name": "judging", "file": "../x"}, "file_not_found"),
    ):
        refused = await night.call("read_skill", **arguments)
        assert refused.error is not None
        assert refused.error.code == code

"""Agent files are checked when they are loaded, and a wrong one is refused with the line or the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab import agents, front_matter
from nightlab.agents import AgentSpec
from nightlab.errors import SpecError, UsageError
from nightlab.lab import Lab, shipped

FRONT = """\
name: scout
description: Looks around.
model: claude-haiku-5-5
effort: low
tools: look_around, read_twice
skills: [looking]
writes: ["experiments/**", notes.md]
limits: {turns: 20, usd: 0.5}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    for folder in ("agents", "tools", "skills/looking"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("look_around", "read_twice"):
        (tmp_path / "tools" / f"{name}.py").write_text("")
    (tmp_path / "skills" / "looking" / "SKILL.md").write_text("---\nname: looking\ndescription: d\n---\nb\n")
    return Lab.open(tmp_path)


def write(lab: Lab, front: str = FRONT, body: str = "Look.\n", end: str = "\n") -> Path:
    path = lab.root / "agents" / "scout.md"
    path.write_bytes(f"---\n{front}---\n{body}".replace("\n", end).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_agent_is_read(lab: Lab, end: str) -> None:
    write(lab, body="\nLook.\n\n---\n\nLook again.\n", end=end)
    agent = AgentSpec.load(lab, "scout")
    assert (agent.name, agent.description, agent.model, agent.effort) == (
        "scout",
        "Looks around.",
        "claude-haiku-5-5",
        "low",
    )
    assert agent.tools == ("look_around", "read_twice")
    assert agent.skills == ("looking",)
    assert agent.writes == ("experiments/**", "notes.md")
    assert agent.limits == {"turns": 20.0, "usd": 0.5}
    assert agent.prompt.splitlines() == ["Look.", "", "---", "", "Look again."]
    assert agent.found is not None
    assert agent.found.origin == "lab"


def test_what_may_be_left_out(lab: Lab) -> None:
    write(lab, "name: scout\ndescription: d\ntools: []\n")
    agent = AgentSpec.load(lab, "scout")
    assert (agent.tools, agent.writes, agent.limits, agent.effort) == ((), (), {}, "high")


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("effort: low", "efort: low", "unknown key 'efort'", "did you mean effort?"),
        ("effort: low", "zzz: low", "unknown key 'zzz'", "known keys: name"),
        ("effort: low", "effort: lowish", "effort is 'lowish'", "one of low"),
        ("name: scout", "name: scoot", "the name 'scoot' is not the file's", "name: scout"),
        ("name: scout\n", "", "lacks name", ""),
        ("description: Looks around.", "description: ''", "lacks description", ""),
        ("description: Looks around.", "description: [a]", "description is no text", ""),
        ("description: Looks around.", f"description: {'x' * 1025}", "1025 characters", ""),
        ("tools: look_around, read_twice\n", "", "lacks tools", "tools: []"),
        ("read_twice", "read_twise", "no tool 'read_twise'", "did you mean read_twice?"),
        ("read_twice", "qqq", "no tool 'qqq'", "known: "),
        ("read_twice", "look_around", "lists look_around twice", ""),
        ("tools: look_around, read_twice", "tools: {a: b}", "tools is no list", ""),
        ("[looking]", "[lookin]", "no skill 'lookin'", "did you mean looking?"),
        ("notes.md", "../notes.md", "leaves the lab", ""),
        ("notes.md", "/etc/x", "leaves the lab", ""),
        ("{turns: 20, usd: 0.5}", "{turn: 20}", "unknown limit 'turn'", "did you mean turns?"),
        ("{turns: 20, usd: 0.5}", "{qq: 20}", "unknown limit 'qq'", "known limits"),
        ("{turns: 20, usd: 0.5}", "{turns: -1}", "not a number above 0", ""),
        ("{turns: 20, usd: 0.5}", "{turns: true}", "not a number above 0", ""),
        ("{turns: 20, usd: 0.5}", "{turns: .inf}", "not a number above 0", ""),
        ("{turns: 20, usd: 0.5}", "7", "limits is no mapping", ""),
    ],
)
def test_a_wrong_file_is_refused(lab: Lab, old: str, new: str, what: str, hint: str) -> None:
    assert old in FRONT
    path = write(lab, FRONT.replace(old, new))
    with pytest.raises(SpecError) as caught:
        AgentSpec.load(lab, "scout")
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")
    assert str(path) in (caught.value.where or "")
    [row] = [row for row in agents.describe(lab) if row["name"] == "scout"]
    assert what in row["problem"]


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("no front matter", "no front matter", ":1"),
        ("---\nname: x\n", "no front matter", ":1"),
        ("---\n- a\n---\nb", "no mapping", ":2"),
        ("---\nname: a\nname: b\n---\nb", "given twice", ":3"),
        ("---\nname: a\ntools: [\n---\nb", "malformed YAML", ":"),
    ],
)
def test_broken_front_matter_names_its_line(lab: Lab, text: str, what: str, line: str) -> None:
    path = lab.root / "agents" / "scout.md"
    path.write_text(text)
    with pytest.raises(SpecError, match=what) as caught:
        front_matter.split(path)
    assert (caught.value.where or "").startswith(f"{path}{line}")


def test_an_agent_without_a_prompt_or_a_file(lab: Lab) -> None:
    write(lab, body="\n")
    with pytest.raises(SpecError, match="no system prompt"):
        AgentSpec.load(lab, "scout")
    with pytest.raises(UsageError, match=r"scouts\.md"):
        AgentSpec.load(lab, "scouts")


def test_describe_tells_the_layer_of_each(lab: Lab) -> None:
    write(lab)
    (lab.root / "agents" / "README.md").write_text("not an agent")
    rows = {row["name"]: row for row in agents.describe(lab)}
    assert rows["scout"]["origin"] == "lab"
    assert rows["scout"]["summary"] == "Looks around."
    assert rows["scout"]["problem"] is None
    assert rows["judge"]["origin"] == "shipped"
    assert len(rows["judge"]["sha256"]) == 64
    assert "README" not in rows


@pytest.mark.parametrize("name", ["orchestrator", "judge", "scientist", "debugger", "colleague"])
def test_the_shipped_agents_load(lab: Lab, name: str) -> None:
    agent = AgentSpec.load(lab, name)
    assert agent.found is not None
    assert agent.found.path == shipped("agents") / f"{name}.md"
    assert agent.model.startswith("claude-")
    assert 500 < len(agent.prompt) < 8000


def test_the_shipped_orchestrator_may_write_where_its_tools_write(lab: Lab) -> None:
    agent = AgentSpec.load(lab, "orchestrator")
    assert set(agent.writes) >= {"experiments/**", "state/RESEARCH_STATE.md", "state/research_diary.md"}
    assert not any(glob.startswith(("tools", "agents", "src", "skills")) for glob in agent.writes)


def test_who_may_write_and_who_reports(lab: Lab) -> None:
    staff = {name: AgentSpec.load(lab, name) for name in ("judge", "colleague", "scientist", "debugger")}
    assert (staff["judge"].writes, staff["colleague"].writes) == ((), ())
    assert (staff["judge"].tools, staff["colleague"].reads) == ((), "listed")
    assert {name: agent.returns for name, agent in staff.items()} == {
        "judge": "",
        "colleague": "findings",
        "scientist": "experiment",
        "debugger": "diagnosis",
    }
    for agent in staff.values():
        assert not {"delegate", "end_night", "commit", "write_diary", "update_state"} & set(agent.tools)


@pytest.mark.parametrize(("key", "what"), [("reads: all", "reads is 'all'"), ("returns: poem", "returns is 'poem'")])
def test_what_reads_and_returns_may_say(lab: Lab, key: str, what: str) -> None:
    write(lab, f"{FRONT}{key}\n")
    with pytest.raises(SpecError, match=what):
        AgentSpec.load(lab, "scout")

"""What each agent may do: every writing tool, called as each agent of the staff, and the files that nobody writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightlab import scopes
from nightlab.agents import AgentSpec
from nightlab.budget import Budget, Limits
from nightlab.toolbox import Toolbox, ToolContext, ToolFailure
from tests.tools.conftest import EXPERIMENT, NIGHT, Handles, Night, files

QUESTION = {"question": "q?", "why": "w", "options": ["a", "b"], "went_on_with": "a", "cost_of_wrong": "c"}
SKILL = "---\nname: seeing\ndescription: How to see.\n---\nLook.\n"
CALLS: dict[str, dict[str, Any]] = {
    "analyze": {"experiment": EXPERIMENT},
    "ask": QUESTION,
    "commit": {"experiment": EXPERIMENT, "message": "m"},
    "delegate": {"agent": "colleague", "brief": "b", "inputs": []},
    "end_night": {"reason": "r", "even_if_open": True},
    "note_scaffolding": {"note": "n"},
    "plan_experiment": {"experiment": EXPERIMENT, "action": "correct", "changes": {"serving.port": 0}, "why": "w"},
    "propose": {"kind": "skill", "name": "seeing", "text": SKILL, "why": "w"},
    "propose_failure": {
        "name": "new_one",
        "server": "llama-00000000",
        "pattern": "x",
        "cause": "c",
        "remedy": ["r"],
        "whose": "ours",
        "why": "w",
    },
    "run_command": {"command": "touch state/x"},
    "run_judges": {"experiment": EXPERIMENT},
    "run_sweep": {"experiment": EXPERIMENT, "models": ["llama"]},
    "start_server": {"experiment": EXPERIMENT, "model": "llama"},
    "stop_server": {"server": "llama-00000000"},
    "train_adapter": {"name": "a", "model": "practice:llama", "data": "chats.jsonl"},
    "update_state": {"experiment": EXPERIMENT, "status": "done"},
    "wait": {"handles": [f"sweep:{EXPERIMENT}:llama"]},
    "write_diary": {"experiment": EXPERIMENT, "title": "t"},
    "write_report": {"experiment": EXPERIMENT},
}
ELSEWHERE = {"train_adapter", "commit", "end_night", "update_state", "write_diary", "ask", "delegate"}
MAY_NOT = {
    "judge": set(CALLS),
    "colleague": set(CALLS),
    "scientist": ELSEWHERE - {"commit"},  # of its own folder alone
    "debugger": ELSEWHERE | {"analyze", "run_judges", "run_sweep", "wait", "write_report"},
}


def context(night: Night, name: str, experiment: str = EXPERIMENT) -> ToolContext:
    """A call as a sub-agent makes it, with the scope that a delegation on this experiment gives it."""
    lab = night.lab
    agent = AgentSpec.load(lab, name)
    agent = replace(agent, writes=scopes.filled(agent.writes, experiment))
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits())
    reads = frozenset([lab.state_file.resolve()]) if agent.reads == "listed" else None
    return ToolContext(lab, NIGHT, agent, night.events, budget, Handles(), "call", watch="w", leads=False, reads=reads)


def test_every_tool_that_writes_is_looked_at(night: Night) -> None:
    others = {name for name, tool in Toolbox.load(night.lab).tools.items() if tool.effect != "read"}
    assert others <= set(CALLS)


@pytest.mark.parametrize(("name", "tool"), [(name, tool) for name, tools in MAY_NOT.items() for tool in sorted(tools)])
async def test_what_an_agent_may_not_do_is_refused_and_logged(night: Night, name: str, tool: str) -> None:
    before = files(night.lab)
    result = await Toolbox.load(night.lab).call(tool, CALLS[tool], context(night, name))
    assert result.error is not None
    assert result.error.code in ("not_allowed", "no_recursion")
    assert files(night.lab) == before
    if result.error.code == "not_allowed":
        [row] = [row for row in night.events.read() if row["kind"] == "violation"]
        assert (row["agent"], row["tool"]) == (name, tool)


@pytest.mark.parametrize("tool", ["analyze", "plan_experiment", "run_judges", "run_sweep", "start_server", "wait"])
async def test_a_scientist_keeps_to_its_experiment(night: Night, tool: str) -> None:
    before = files(night.lab)
    result = await Toolbox.load(night.lab).call(tool, CALLS[tool], context(night, "scientist", "exp_002_other"))
    assert result.error is not None
    assert result.error.code == "not_allowed"
    assert files(night.lab) == before


async def test_a_colleague_reads_only_what_it_was_given(night: Night) -> None:
    box, ctx = Toolbox.load(night.lab), context(night, "colleague")
    assert (await box.call("read_file", {"path": "state/RESEARCH_STATE.md"}, ctx)).ok
    (night.lab.root / "link.md").symlink_to(night.lab.notes)
    for path in ("scaffolding_notes.md", "link.md", "skills/judging/SKILL.md", "state/../scaffolding_notes.md"):
        refused = await box.call("read_file", {"path": path}, ctx)
        assert refused.error is not None
        assert refused.error.code == "not_allowed"
    for tool, arguments in (("list_servers", {}), ("diagnose", {"server": "x"})):
        refused = await box.call(tool, arguments, ctx)
        assert refused.error is not None
        assert "reads only the files it was given" in refused.error.what
    hits = (await box.call("search_text", {"text": "Scaffolding"}, ctx)).data["hits"]
    assert hits == []


@pytest.mark.parametrize("path", [".git/config", ".git/hooks/pre-commit", "state/../.git/HEAD"])
async def test_nobody_reads_or_writes_git(night: Night, path: str) -> None:
    refused = await night.call("read_file", path=path)
    assert refused.error is not None
    assert refused.error.code == "not_allowed"
    assert (await night.call("search_text", text="bare", path=".git")).data["hits"] == []


@pytest.mark.parametrize(
    "path",
    [
        f"experiments/{EXPERIMENT}/samples.jsonl",
        f"experiments/{EXPERIMENT}/judgments.jsonl",
        f"experiments/{EXPERIMENT}/plan.lock.json",
        f"experiments/{EXPERIMENT}/report.md",
        f"state/nights/{NIGHT}/events.jsonl",
        "state/servers/x.json",
        ".nightlab/lock",
        ".git/hooks/post-commit",
        ".GIT/config",
        "sub/.git/config",
        "skills/judging/SKILL.md",
        "tools/wait.py",
        "agents/judge.md",
        "pyproject.toml",
        "../outside",
        "/etc/passwd",
    ],
)
def test_what_no_agent_writes_whatever_its_file_says(night: Night, path: str) -> None:
    ctx = context(night, "scientist")
    ctx.agent = replace(ctx.agent, writes=("**",))
    assert not ctx.may_write(path)
    with pytest.raises(ToolFailure):
        ctx.writable(path)
    assert ctx.may_write(f"experiments/{EXPERIMENT}/report.md.j2")


async def test_a_plan_is_closed_once_it_is_frozen(night: Night) -> None:
    ctx = context(night, "scientist")
    plan = [f"experiments/{EXPERIMENT}/{name}" for name in ("config.yaml", "rubric.md", "prompts/a.yaml")]
    assert all(ctx.may_write(path) for path in plan)
    assert (await night.call("plan_experiment", experiment=EXPERIMENT, action="freeze")).ok
    assert not any(ctx.may_write(path) for path in plan)


async def test_a_plan_is_not_written_through_a_link(night: Night, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = night.lab.experiments / "exp_002_new"
    folder.mkdir()
    (folder / "prompts").symlink_to(outside)
    text = {"prompts/p.yaml": "x"}
    refused = await night.call("plan_experiment", experiment="exp_002_new", action="write", files=text)
    assert refused.error is not None
    assert refused.error.code == "not_allowed"
    assert list(outside.iterdir()) == []


def test_what_is_passed_on_lies_inside_what_the_giver_has() -> None:
    giver = ("experiments/**", "notes.md", "data/*.csv")
    wanted = ("experiments/a/**", "experiments/**", "notes.md", "data/x.csv", "data/*", "**", "exp*/**", "notes*")
    assert scopes.passed_on(wanted, giver) == ("experiments/a/**", "experiments/**", "notes.md", "data/x.csv")
    assert scopes.filled(("a/{experiment}/**", "b"), None) == ("b",)
    assert scopes.filled(("a/{experiment}/**",), "exp_001_x") == ("a/exp_001_x/**",)


async def test_a_server_is_stopped_by_who_started_it(night: Night) -> None:
    from nightlab.servers.manifest import Manifest, save

    manifest = Manifest(
        id="tiny-1", key="mine", night=NIGHT, model="t", model_id="o/t", model_path="/m", engine="embedded",
        served_name="t", place="local", job="tiny-1", port=1, flags=[], conditions={}, started="2026-11-23T00:00:00Z",
    )  # fmt: skip
    save(night.lab, manifest)
    box, ctx = Toolbox.load(night.lab), context(night, "scientist")
    refused = await box.call("stop_server", {"server": "tiny-1"}, ctx)
    assert refused.error is not None
    assert refused.error.code == "not_allowed"
    night.events.emit("tool_started", call="mine", tool="start_server", watch="w")
    assert (await box.call("stop_server", {"server": "tiny-1"}, replace(ctx, call_id="c2"))).ok

"""Delegation with scripted brains: own watch, scope and share; typed reports; every way not to report; resumption."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightlab.agents import AgentSpec
from nightlab.brains import Brain, Scripted, Turn, TurnRequest
from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import Options, run_night
from nightlab.night.playbook import Playbook
from nightlab.servers.manifest import Manifest, save
from tests.night import forked
from tests.night.conftest import make_lab

END: list[dict[str, Any]] = [{"call": "end_night", "input": {"reason": "all is done"}}]
FOUND: dict[str, Any] = {
    "findings": [{"what": "no control", "where": "notes", "weight": "weakens"}],
    "answer": "It may stand.",
}
CAUSE: dict[str, Any] = {"failure": None, "cause": "unknown", "remedy": "read on", "mended": False, "tried": []}


def report(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"call": "report_back", "input": {"report": value}}]


def ask(agent: str, *inputs: str, brief: str = "Look at it.") -> dict[str, Any]:
    return {"call": "delegate", "input": {"agent": agent, "brief": brief, "inputs": list(inputs)}}


def note(text: str) -> dict[str, Any]:
    return {"call": "note_scaffolding", "input": {"note": text}}


def add_agent(lab: Lab, name: str, front: str) -> None:
    (lab.root / "agents").mkdir(exist_ok=True)
    text = f"---\nname: {name}\ndescription: d\n{front}\n---\nWork.\n"
    (lab.root / "agents" / f"{name}.md").write_text(text)


def run(lab: Lab, lead: list[Any], staff: dict[str, Brain], **options: Any) -> tuple[Scripted, str]:
    brain = Scripted([*lead, END])

    def brain_for(agent: AgentSpec) -> Brain:
        return staff[agent.name]

    result = run_night(lab, Options(hours=1, **options), brain=brain, brain_for=brain_for)
    return brain, result.night


def told(brain: Scripted, turn: int = 1) -> list[dict[str, Any]]:
    """What the lead was told about the calls of the turn before."""
    return [json.loads(block["content"]) for block in brain.requests[turn].messages[-1]["content"]]


def rows(lab: Lab, night: str, kind: str) -> list[dict[str, Any]]:
    return [row for row in EventLog(lab.night(night)).read() if row["kind"] == kind]


def test_a_colleague_sees_the_listed_files_and_reports_findings(lab: Lab) -> None:
    (lab.root / "state" / "hidden.md").write_text("a secret word")
    looks = [
        {"call": "read_file", "input": {"path": "pyproject.toml"}},
        {"call": "read_file", "input": {"path": "state/hidden.md"}},
        {"call": "search_text", "input": {"text": "a secret word"}},
        {"call": "list_files", "input": {"path": ".", "pattern": "**/*"}},
        {"call": "read_skill", "input": {"name": "research-principles"}},
        {"call": "read_skill", "input": {"name": "judging"}},
    ]
    colleague = Scripted([looks, report(FOUND)])
    lead, night = run(lab, [[ask("colleague", "pyproject.toml")]], {"colleague": colleague})
    [answer] = told(lead)
    assert answer["data"]["report"] == FOUND
    read, hidden, search, listed, skill, other = told(colleague)
    assert read["data"]["text"].strip() == "[tool.nightlab]"
    assert (hidden["error"]["code"], search["data"]["hits"]) == ("not_allowed", [])
    assert [entry["name"] for entry in listed["data"]["entries"]] == ["pyproject.toml"]
    assert "# Before the data" in skill["data"]["text"]
    assert other["error"]["code"] == "unknown_skill"
    [violation] = rows(lab, night, "violation")
    assert (violation["agent"], violation["tool"]) == ("colleague", "read_file")
    first = colleague.requests[0]
    text = first.messages[0]["content"][0]["text"]
    assert text.startswith("# Brief\n\nLook at it.")
    assert '"path": "pyproject.toml"' in text
    names = [one["name"] for one in first.tools]
    assert names == ["read_file", "list_files", "search_text", "read_skill", "report_back"]
    form = first.tools[-1]["input_schema"]["properties"]["report"]
    assert form["required"] == ["findings", "answer"]
    assert "$ref" not in json.dumps(form)


def test_its_watch_events_and_share_are_its_own(lab: Lab) -> None:
    colleague = Scripted([report(FOUND)], usd_per_turn=0.25)
    lead, night = run(lab, [[ask("colleague", "pyproject.toml")]], {"colleague": colleague})
    [answer] = told(lead)
    watch = answer["data"]["watch"]
    assert (answer["data"]["turns"], answer["data"]["usd"]) == (1, 0.25)
    assert watch.startswith("watch_01_colleague_")
    assert (lab.night(night) / f"{watch}.jsonl").is_file()
    [started], [ended] = rows(lab, night, "delegation_started"), rows(lab, night, "delegation_ended")
    assert (started["agent"], started["writes"], ended["ok"], ended["usd"]) == ("colleague", [], True, 0.25)
    spent = Budget(lab.night(night) / "ledger.jsonl", Limits()).by_who()
    assert spent[watch].usd == 0.25
    assert [row["watch"] for row in rows(lab, night, "turn")] == ["watch_01", watch, "watch_01"]


def test_parallel_delegates_have_their_own_watches(lab: Lab) -> None:
    running: list[str] = []
    seen: list[int] = []

    class Slow(Scripted):
        async def turn(self, request: TurnRequest, *, on_text: Callable[[str], None] | None = None) -> Turn:
            import asyncio

            running.append(request.watch)
            await asyncio.sleep(0.2)
            seen.append(len(running))
            return await super().turn(request, on_text=on_text)

    answers = [report(FOUND | {"answer": "one"})]
    calls = [ask("colleague", "pyproject.toml"), ask("colleague", ".gitignore")]
    lead, _ = run(lab, [calls], {"colleague": Slow(answers)})
    one, two = told(lead)
    assert one["data"]["watch"] != two["data"]["watch"]
    assert seen == [2, 2]


def test_a_report_that_does_not_fit_is_refused_until_it_does(lab: Lab) -> None:
    wrong: list[dict[str, Any]] = [
        {"findings": []},
        FOUND | {"more": 1},
        {"findings": [{"what": "x", "where": "y", "weight": "huge"}], "answer": "a"},
    ]
    colleague = Scripted([*map(report, wrong), report(FOUND)])
    lead, _ = run(lab, [[ask("colleague", "pyproject.toml")]], {"colleague": colleague})
    assert told(lead)[0]["data"]["report"] == FOUND
    refusals = [told(colleague, turn)[0]["error"] for turn in (1, 2, 3)]
    assert {refusal["code"] for refusal in refusals} == {"bad_report"}
    assert [refusal["what"].split(":")[0] for refusal in refusals] == [
        "report.answer",
        "report.more",
        "report.findings.0.weight",
    ]


def test_a_scientist_has_one_experiment_and_names_verdicts_that_exist(lab: Lab) -> None:
    folder = lab.experiments / "exp_001_x"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "verdicts.csv").write_text("id,verdict,text\nH1,supported,yes\n")
    (lab.experiments / "exp_002_y").mkdir()
    done = {"experiment": "1", "done": "all of it", "verdicts": ["exp_001/H2"], "open_problems": []}
    other = {"call": "plan_experiment", "input": {"experiment": "exp_002_y", "action": "freeze"}}
    mine = {"call": "plan_experiment", "input": {"experiment": "exp_001_x", "action": "freeze"}}
    scientist = Scripted([[other, mine], report(done), report(done | {"verdicts": ["exp_001/H1"]})])
    lead, night = run(lab, [[ask("scientist", "exp_001_x")]], {"scientist": scientist})
    refused, no_plan = told(scientist)
    assert refused["error"]["code"] == "not_allowed"
    assert no_plan["error"]["code"] != "not_allowed"
    assert "has no verdict 'exp_001/H2'" in told(scientist, 2)[0]["error"]["what"]
    assert told(lead)[0]["data"]["report"]["experiment"] == "exp_001_x"
    [started] = rows(lab, night, "delegation_started")
    assert started["works_on"] == "exp_001_x"
    assert "experiments/exp_001_x/**" in started["writes"]


def test_a_debugger_gets_the_failure_packet(lab: Lab) -> None:
    log = lab.cache / "log.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text("loading\nOSError: [Errno 98] Address already in use\n" + "x" * 20_000)
    manifest = Manifest(
        id="tiny-1", key="k", night="n", model="tiny", model_id="org/tiny", model_path="/m", engine="embedded",
        served_name="tiny", place="local", job="tiny-1", port=8000, flags=["--fast"], conditions={}, state="failed",
        failure="port_in_use", error="no", started="2026-11-23T00:00:00.000Z", log=".nightlab/log.txt",
    )  # fmt: skip
    save(lab, manifest)
    (lab.experiments / "exp_001_x").mkdir()
    debugger = Scripted([report(CAUSE)])
    lead, _ = run(lab, [[ask("debugger", "tiny-1", "exp_001_x")]], {"debugger": debugger})
    assert told(lead)[0]["data"]["report"] == CAUSE
    text = debugger.requests[0].messages[0]["content"][0]["text"]
    facts = json.loads(text.split("```json\n")[1].split("\n```")[0])
    [packet] = facts["failures"]
    assert packet["recorded"]["class"] == packet["signature"]["class"] == "port_in_use"
    assert "Address already in use" in packet["excerpts"][0]
    assert packet["excerpts"][1].startswith("[cut: ")
    assert packet["command"]
    assert packet["machine"]["flags"] == ["--fast"]
    assert facts["sweep"] == {"experiment": "exp_001_x", "failed_attempts": {}, "latest": []}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (ask("scientits", "exp_001_x"), "unknown_agent"),
        (ask("judge", "pyproject.toml"), "not_delegable"),
        (ask("orchestrator"), "not_delegable"),
        (ask("colleague"), "bad_argument"),
        (ask("colleague", "state"), "bad_argument"),
        (ask("colleague", "nothing.md"), "file_not_found"),
        (ask("colleague", "../x"), "outside_lab"),
        (ask("colleague", ".git/config"), "not_allowed"),
        (ask("scientist", "pyproject.toml"), "bad_argument"),
        (ask("scientist", "exp_001_x", "exp_002_y"), "bad_argument"),
        (ask("colleague", "pyproject.toml", brief=" "), "bad_argument"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_starts(lab: Lab, call: dict[str, Any], code: str) -> None:
    lead, night = run(lab, [[call]], {"colleague": Scripted([]), "scientist": Scripted([])})
    assert told(lead)[0]["error"]["code"] == code
    assert rows(lab, night, "delegation_started") == []


def test_the_playbook_works_alone(lab: Lab) -> None:
    lead, _ = run(lab, [[ask("colleague", "pyproject.toml")]], {"colleague": Playbook()})
    assert told(lead)[0]["error"]["code"] == "no_brain"


def test_a_sub_agent_can_neither_delegate_nor_end_the_night(lab: Lab) -> None:
    add_agent(lab, "eager", "tools: [delegate, end_night]\nwrites: [scaffolding_notes.md]\nreturns: findings")
    eager = Scripted([[ask("eager"), END[0]], report(FOUND)])
    lead, night = run(lab, [[ask("eager")], "still here"], {"eager": eager})
    assert [result["error"]["code"] for result in told(eager)] == ["no_recursion", "not_allowed"]
    assert told(lead)[0]["ok"]
    assert rows(lab, night, "night_ended")[0]["why"] == "all is done"


def test_scope_is_what_both_may_write(lab: Lab) -> None:
    add_agent(lab, "wide", "tools: [note_scaffolding]\nwrites: [scaffolding_notes.md, 'src/**']\nreturns: findings")
    _, night = run(lab, [[ask("wide")]], {"wide": Scripted([report(FOUND)])})
    [started] = rows(lab, night, "delegation_started")
    assert (started["writes"], started["withheld"]) == (["scaffolding_notes.md"], ["src/**"])


@pytest.mark.parametrize(
    ("front", "lines", "usd", "code"),
    [
        ("limits: {turns: 2}", [[note("a")], [note("b")], report(FOUND)], 0.0, "out_of_turns"),
        ("limits: {usd: 0.5}", [[note("a")], [note("b")], report(FOUND)], 0.2, "budget_exceeded"),
        ("limits: {hours: 0.0000001}", [[note("a")]], 0.0, "out_of_time"),
        ("limits: {turns: 9}", ["I am done.", "Really.", "Yes."], 0.0, "no_report"),
        ("limits: {turns: 9}", [Turn([], "refusal")], 0.0, "no_report"),
    ],
)
def test_without_a_report_there_is_a_code(lab: Lab, front: str, lines: list[Any], usd: float, code: str) -> None:
    tools = "tools: [note_scaffolding]\nwrites: [scaffolding_notes.md]\nreturns: findings"
    add_agent(lab, "scout", f"{tools}\n{front}")
    scout = Scripted(lines, usd_per_turn=usd * 1.0)
    lead, night = run(lab, [[ask("scout")]], {"scout": scout})
    assert told(lead)[0]["error"]["code"] == code
    [ended] = rows(lab, night, "delegation_ended")
    assert not ended["ok"]
    if code == "no_report":
        assert "did not report back" in told(lead)[0]["error"]["what"]


def test_two_scientists_on_one_experiment_are_one_too_many(lab: Lab) -> None:
    (lab.experiments / "exp_001_x").mkdir()
    done = {"experiment": "exp_001_x", "done": "it", "verdicts": [], "open_problems": []}
    lead, _ = run(lab, [[ask("scientist", "exp_001_x")] * 2], {"scientist": Scripted([report(done)])})
    assert sorted(result["ok"] for result in told(lead)) == [False, True]
    assert next(r["error"]["code"] for r in told(lead) if not r["ok"]) == "busy"


KILLED = """
import os, sys
from pathlib import Path
from nightlab.brains import Scripted
from nightlab.lab import Lab
from nightlab.night import Options, run_night

at, seen = int(sys.argv[2]), 0

def on_event(row):
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), 9)

found = dict(findings=[], answer="fine")
ask = {"call": "delegate", "input": {"agent": "scout", "brief": "Look.", "inputs": []}}
lead = Scripted([[ask, ask], [{"call": "end_night", "input": {"reason": "done"}}]])
note = {"call": "note_scaffolding", "input": {"note": "a note"}}
scout = Scripted([[note, note], [note], [{"call": "report_back", "input": {"report": found}}]], usd_per_turn=0.5)
lab = Lab.open(Path(sys.argv[1]))
result = run_night(lab, Options(hours=1), brain=lead, brain_for=lambda a: scout, on_event=on_event)
print(result.state, result.usd)
"""


def _killed(lab: Lab, script: Path, at: int) -> subprocess.CompletedProcess[str]:
    return forked.run(script, lab.root, at)


def _outcome(lab: Lab) -> dict[str, Any]:
    [night] = lab.night_names()
    finished = [row["call"] for row in rows(lab, night, "tool_finished")]
    return {
        "notes": lab.notes.read_text().count("a note"),
        "finished": sorted(finished),
        "delegations": sorted((r["call"], r["ok"], r["turns"]) for r in rows(lab, night, "delegation_ended")),
        "turns": len(rows(lab, night, "turn")),
        "watches": sorted(path.name for path in lab.night(night).glob("watch_*.jsonl")),
    }


@pytest.mark.slow
def test_killed_in_a_delegation_it_goes_on_without_repeating(tmp_path: Path) -> None:
    script = tmp_path / "night.py"
    script.write_text(KILLED)
    front = "tools: [note_scaffolding]\nwrites: [scaffolding_notes.md]\nreturns: findings"

    def fresh(name: str) -> Lab:
        lab = make_lab(tmp_path / name)
        add_agent(lab, "scout", front)
        subprocess.run(["git", "-C", str(lab.root), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(lab.root), "commit", "-qm", "scout"], check=True)
        return lab

    whole = fresh("whole")
    assert _killed(whole, script, 0).stdout == "finished 3.0\n"
    expected = _outcome(whole)
    assert (expected["notes"], len(expected["watches"]), expected["turns"]) == (6, 3, 8)
    kinds = [row["kind"] for row in EventLog(whole.night(whole.night_names()[0])).read()]
    first, last = kinds.index("delegation_started"), len(kinds) - kinds[::-1].index("delegation_ended")
    for at in range(first + 1, last + 2, 4):
        lab = fresh(f"at{at}")
        killed = _killed(lab, script, at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        again = _killed(lab, script, 0)
        assert again.stdout.startswith("finished"), again.stderr
        assert _outcome(lab) == expected, f"killed at event {at}"


@pytest.mark.slow
def test_a_sub_watch_that_is_full_hands_over(lab: Lab) -> None:
    add_agent(lab, "scout", "tools: [read_file]\nreturns: findings\nlimits: {turns: 20}")
    (lab.root / "long.md").write_text(("word " * 40 + "\n") * 390)
    look: list[dict[str, Any]] = [{"type": "text", "text": "I have read some of it."}]
    look += [{"call": "read_file", "input": {"path": "long.md"}}] * 30

    def second(request: TurnRequest) -> Any:
        return report(FOUND) if request.watch.endswith("_2") else look

    scout = Scripted([second, second])
    began = time.monotonic()
    lead, night = run(lab, [[ask("scout")]], {"scout": scout})
    assert time.monotonic() - began < 60
    assert told(lead)[0]["data"]["watch"].endswith("_2")
    assert "I have read some of it." in scout.requests[-1].messages[0]["content"][0]["text"]
    assert rows(lab, night, "delegation_ended")[0]["turns"] == len(scout.requests)

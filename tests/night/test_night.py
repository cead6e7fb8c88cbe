"""Nights with a scripted brain: real tools, real git, real checkpoints; bounds, endings, resumption."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from nightlab.brains import Scripted, Turn, TurnRequest
from nightlab.compute import open_place
from nightlab.errors import LabError, LockHeld, NotSetUp, UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab, look_up
from nightlab.night import Options, night_state, preflight, run_night, unfinished
from nightlab.night.lock import LabLock, living_holder
from nightlab.record.diary import Diary
from nightlab.servers.server import Server, list_servers
from tests.night import forked
from tests.night.conftest import git, make_lab

END: list[dict[str, Any]] = [{"call": "end_night", "input": {"reason": "all is done"}}]
QUESTION = {
    "question": "Which way?",
    "why": "it matters",
    "options": ["left", "right"],
    "went_on_with": "left",
    "cost_of_wrong": "an hour",
}


def kinds(lab: Lab, night: str) -> list[str]:
    return [row["kind"] for row in EventLog(lab.night(night)).read()]


def rows(lab: Lab, night: str, kind: str) -> list[dict[str, Any]]:
    return [row for row in EventLog(lab.night(night)).read() if row["kind"] == kind]


def test_a_night_from_launch_to_commit(lab: Lab) -> None:
    heard: list[dict[str, Any]] = []
    note = {"call": "note_scaffolding", "input": {"note": "a note"}}
    brain = Scripted(["I look.", [{"call": "ask", "input": QUESTION}, note], END])
    result = run_night(lab, Options(hours=1), brain=brain, on_event=heard.append)
    assert (result.state, result.reason, result.needs_you, result.usd) == ("finished", "all is done", 1, 0.0)
    assert heard == list(EventLog(lab.night(result.night)).read())
    assert [q.text for q in Diary(lab.diary).questions()] == ["Which way?"]
    assert "a note" in lab.notes.read_text()
    assert git(lab.root, "status", "--porcelain") == ""
    assert f"Nightlab-Night: {result.night}" in git(lab.root, "log", "-1", "--format=%B")
    assert night_state(lab, result.night).state == "finished"
    assert unfinished(lab) is None
    assert living_holder(lab.lock) is None
    second = run_night(lab, Options(hours=1), brain=Scripted([END]))
    assert second.night > result.night


def test_the_first_message_is_the_situation_and_nothing_is_edited(lab: Lab) -> None:
    brain = Scripted(["one", "two", END])
    result = run_night(lab, Options(hours=1), brain=brain)
    first, second, third = brain.requests
    assert '"question": "What is it?"' in first.messages[0]["content"][0]["text"]
    assert second.messages[: len(first.messages)] == first.messages
    assert third.messages[: len(second.messages)] == second.messages
    assert first.system == third.system
    assert first.tools == third.tools
    stored = [json.loads(line) for line in (lab.night(result.night) / "watch_01.jsonl").read_text().splitlines()]
    assert [row["message"] for row in stored[1:]][: len(third.messages)] == third.messages


def test_a_brain_that_says_nothing_is_nudged_then_given_up(lab: Lab) -> None:
    brain = Scripted([])
    result = run_night(lab, Options(hours=1), brain=brain)
    assert result.state == "stopped"
    assert "called no tool 3 times" in result.reason
    assert "You called no tool" in brain.requests[1].messages[-1]["content"][0]["text"]
    assert "night_ended" in kinds(lab, result.night)


def test_a_refusal_ends_the_night_with_its_record(lab: Lab) -> None:
    result = run_night(lab, Options(hours=1), brain=Scripted([Turn([], "refusal"), Turn([], "refusal")]))
    assert (result.state, result.reason) == ("stopped", "the brain stopped: refusal")
    assert Diary(lab.diary).has_entry(result.night)


def test_a_defect_of_the_brain_is_a_failed_night_that_is_wrapped_up(lab: Lab) -> None:
    def broken(_: TurnRequest) -> str:
        raise ZeroDivisionError("no brain")

    result = run_night(lab, Options(hours=1), brain=Scripted([broken]))
    assert (result.state, result.reason) == ("failed", "ZeroDivisionError: no brain")
    assert "no brain" in rows(lab, result.night, "error")[0]["trace"]
    assert git(lab.root, "status", "--porcelain") == ""


def test_money_stops_before_the_turn_that_would_cross_it(lab: Lab) -> None:
    brain = Scripted(["a", "b", "c"], usd_per_turn=0.004)
    result = run_night(lab, Options(hours=1, budget=0.01), brain=brain)
    assert (result.state, len(brain.requests)) == ("stopped", 2)
    assert "usd" in result.reason
    assert result.usd == pytest.approx(0.008)
    assert [row["share"] for row in rows(lab, result.night, "budget_warning")] == [0.8]


def test_turns_and_the_clock_stop_a_night(tmp_path: Path) -> None:
    short = make_lab(tmp_path / "short", table="turns = 1")
    result = run_night(short, Options(hours=1), brain=Scripted(["a", "b"]))
    assert (result.state, result.reason) == ("stopped", "all 1 turns are used")
    late = make_lab(tmp_path / "late")
    result = run_night(late, Options(hours=0), brain=Scripted([END]))
    assert (result.state, result.reason) == ("stopped", "the deadline is past")


def test_a_tool_that_fails_is_told_and_the_night_goes_on(lab: Lab) -> None:
    calls = [
        {"call": "read_file", "input": {"path": "../../etc/passwd"}},
        {"call": "raed_file", "input": {}},
        {"call": "read_file", "input": {}},
        {"call": "wait", "input": {"handles": ["server:none"]}},
        {"call": "wait", "input": {"handles": ["nonsense"]}},
    ]
    brain = Scripted([calls, END])
    result = run_night(lab, Options(hours=1), brain=brain)
    assert result.state == "finished"
    assert sum(not row["ok"] for row in rows(lab, result.night, "tool_finished")) == 4
    told = [json.loads(block["content"]) for block in brain.requests[1].messages[-1]["content"]]
    assert [t.get("error", {}).get("code") for t in told] == [
        "outside_lab",
        "unknown_tool",
        "bad_argument",
        None,
        "nightlab_error",
    ]
    [work] = told[3]["data"]["works"]
    assert work["state"] == "failed"
    assert "no server" in work["error"]["what"]


def test_an_open_queue_refuses_the_end_once(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", queue="- [ ] exp_001_x: a thing\n")
    insist = [{"call": "end_night", "input": {"reason": "enough", "even_if_open": True}}]
    brain = Scripted([END, insist])
    result = run_night(lab, Options(hours=1), brain=brain)
    assert (result.state, result.reason) == ("finished", "enough")
    refused = json.loads(brain.requests[1].messages[-1]["content"][0]["content"])
    assert refused["error"]["code"] == "queue_open"


def test_a_second_night_is_refused_by_name(lab: Lab) -> None:
    lock = LabLock(lab.lock)
    lock.acquire("20260101-000000")
    with pytest.raises(LockHeld, match="night 20260101-000000 runs on this lab: process"):
        run_night(lab, Options(hours=1), brain=Scripted([END]))
    lock.release()
    lock.release()
    assert run_night(lab, Options(hours=1), brain=Scripted([END])).state == "finished"


def test_preflight_refuses_and_writes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(lab.root.rglob("*"))
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    claude = Lab.open(lab.root, {"brain": "claude"})
    with pytest.raises(NotSetUp) as caught:
        preflight(claude, Options())
    words = str(caught.value)
    assert all(word in words for word in ("ANTHROPIC_API_KEY", "playbook", "nightlab demo"))
    for options, says in ((Options(until="25:00"), "no clock time"), (Options(until="07:00", hours=1), "both")):
        with pytest.raises(UsageError, match=says):
            preflight(lab, options)
    lab.state_file.rename(lab.root / "gone")
    with pytest.raises(LabError, match="no research state"):
        preflight(lab, Options())
    (lab.root / "gone").rename(lab.state_file)
    assert sorted(lab.root.rglob("*")) == before


def test_until_is_the_next_such_time(lab: Lab) -> None:
    result = run_night(lab, Options(until="07:00"), brain=Scripted([END]))
    [began] = rows(lab, result.night, "night_started")
    left = began["limits"]["deadline"] - time.time()
    assert 0 < left <= 24 * 3600
    assert time.strftime("%H:%M", time.localtime(began["limits"]["deadline"])) == "07:00"


KILLED = """
import os, sys
from pathlib import Path
from nightlab.brains import Scripted
from nightlab.lab import Lab, look_up
from nightlab.night import Options, run_night

mode, at, seen = sys.argv[2], int(sys.argv[3]), 0

def on_event(row):
    global seen
    seen += 1
    if mode == "kill" and seen == at:
        os.kill(os.getpid(), 9)
    if mode == "term" and row["kind"] == "waiting":
        os.kill(os.getpid(), 15)

question = dict(question="Which way?", why="w", options=["a", "b"], went_on_with="a", cost_of_wrong="c")
note = {"call": "note_scaffolding", "input": {"note": "a note"}}
wait = {"call": "wait", "input": {"handles": ["server:none"], "minutes": 5}}
end = {"call": "end_night", "input": {"reason": "done"}}
brain = Scripted(["look", [{"call": "ask", "input": question}, note], [note], [end]])
result = run_night(Lab.open(Path(sys.argv[1])), Options(hours=1), brain=brain, on_event=on_event)
print(result.state, result.night)
"""


SLOW_SERVER = """
from typing import Any

from nightlab.compute import open_place
from nightlab.servers.server import Server, Wanted
from nightlab.toolbox import ToolContext, tool


@tool(effect="compute")
async def slow_server(ctx: ToolContext) -> dict[str, Any]:
    'Start a server that never answers.\\n\\nReturns:\\n    handle, to wait for.'
    wanted = Wanted("slow", "x/slow", ctx.lab.root, argv=("sleep", "600"))
    server = await Server.launch(ctx.lab, open_place(ctx.lab), wanted, key=ctx.call_id, night=ctx.night)
    return {"handle": f"server:{server.manifest.id}"}
"""
TERMINATED = """
import json, os, sys
from pathlib import Path
from nightlab.brains import Scripted
from nightlab.lab import Lab, look_up
from nightlab.night import Options, run_night

def on_event(row):
    if row["kind"] == "waiting":
        os.kill(os.getpid(), 15)

def wait(request):
    started = json.loads(request.messages[-1]["content"][0]["content"])
    return [{"call": "wait", "input": {"handles": [started["data"]["handle"]], "minutes": 5}}]

brain = Scripted([[{"call": "slow_server"}], wait, "never"])
result = run_night(Lab.open(Path(sys.argv[1])), Options(hours=1), brain=brain, on_event=on_event)
print(result.state, result.night)
"""


def run_script(lab: Lab, folder: Path, mode: str, at: int) -> subprocess.CompletedProcess[str]:
    script = folder / "night.py"
    script.write_text(KILLED)
    return forked.run(script, lab.root, mode, at)


def outcome(lab: Lab) -> dict[str, Any]:
    [night] = lab.night_names()
    subjects = git(lab.root, "log", "--format=%s").splitlines()
    asked = [(q.id, q.text) for q in Diary(lab.diary).questions()]
    turns = [row["said"] for row in rows(lab, night, "turn")]
    return {
        "questions": asked,
        "entries": lab.diary.read_text().count(f"<!-- night: {night} -->"),
        "notes": lab.notes.read_text().count("a note"),
        "commits": len(subjects),
        "ended": kinds(lab, night).count("night_ended"),
        "turns": turns,
        "clean": git(lab.root, "status", "--porcelain"),
    }


@pytest.mark.slow
def test_killed_at_every_event_the_night_ends_the_same(tmp_path: Path) -> None:
    whole = make_lab(tmp_path / "whole")
    assert run_script(whole, tmp_path, "go", 0).stdout.startswith("finished")
    expected = outcome(whole)
    assert expected["questions"] == [("q1", "Which way?")]
    assert (expected["entries"], expected["notes"], expected["ended"], expected["clean"]) == (1, 2, 1, "")
    count = len(kinds(whole, whole.night_names()[0]))
    for at in range(1, count + 1, 2):
        lab = make_lab(tmp_path / f"at{at}")
        killed = run_script(lab, tmp_path, "kill", at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert night_state(lab, lab.night_names()[0]).state in ("dead", "finished")
        again = run_script(lab, tmp_path, "go", 0)
        assert again.stdout.startswith("finished"), again.stderr
        assert outcome(lab) == expected, f"killed at event {at}"


def test_a_stop_from_outside_wakes_the_wait_and_wraps_up(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    lab.agents.mkdir()
    lab.tools.mkdir()
    (lab.tools / "slow_server.py").write_text(SLOW_SERVER)
    agent = look_up(lab, "agents", "orchestrator.md").path.read_text().replace("tools:", "tools:\n  - slow_server", 1)
    (lab.agents / "orchestrator.md").write_text(agent)
    script = tmp_path / "night.py"
    script.write_text(TERMINATED)
    done = forked.run(script, lab.root)
    [night] = lab.night_names()
    assert done.stdout.split() == ["stopped", night], done.stderr
    assert night_state(lab, night).reason == "stopped from outside"
    [server] = list_servers(lab)
    assert server.state in ("failed", "stopped")
    assert not Server(lab, open_place(lab), server).alive()


def test_a_killed_night_is_dead_and_says_what_it_did(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    assert run_script(lab, tmp_path, "kill", 4).returncode == -signal.SIGKILL
    [night] = lab.night_names()
    state = night_state(lab, night)
    assert (state.state, state.pid) == ("dead", None)
    assert unfinished(lab) == night


def test_a_damaged_checkpoint_is_rebuilt_from_the_transcript(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    assert run_script(lab, tmp_path, "kill", 9).returncode == -signal.SIGKILL
    lab.checkpoints.write_bytes(b"not a database" * 100)
    for extra in ("-wal", "-shm"):
        lab.checkpoints.with_name(lab.checkpoints.name + extra).unlink(missing_ok=True)
    assert run_script(lab, tmp_path, "go", 0).stdout.startswith("finished")
    [night] = lab.night_names()
    assert "checkpoint was rebuilt" in rows(lab, night, "degradation")[0]["what"]
    assert [q.id for q in Diary(lab.diary).questions()] == ["q1"]


def test_a_night_found_after_its_deadline_is_closed_and_a_new_one_begins(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    assert run_script(lab, tmp_path, "kill", 6).returncode == -signal.SIGKILL
    [night] = lab.night_names()
    path = lab.night(night) / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["limits"]["deadline"] = time.time() - 60
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run_night(lab, Options(), brain=Scripted([END]))
    assert lab.night_names() == [night, result.night]
    assert night_state(lab, night).reason == "the deadline is past"
    assert result.state == "finished"

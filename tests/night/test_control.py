"""Orders of people to a night that runs in a worker: each is carried out once, by the person's name."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab.brains import Scripted, TurnRequest
from nightlab.brains.brain import Block
from nightlab.errors import UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import Options, night_state, run_night
from nightlab.night.control import orders, running, send, size_of
from nightlab.night.lock import LabLock, living_holder
from nightlab.record.diary import Diary
from tests.night.brains import SECRET_WORD
from tests.night.supervised import ROOT, Supervised, command, go, lingering_lab, wait
from tests.night.test_night import SLOW_SERVER

NIGHT = "20261122-230000"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with a tool that lingers; whatever still runs on it at the end is ended."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lab = lingering_lab(tmp_path / "lab")
    yield lab
    for lock in (lab.supervisor, lab.lock):
        if (holder := living_holder(lock)) and holder.pid != os.getpid():
            os.kill(holder.pid, signal.SIGKILL)


def test_without_a_night_there_is_nobody_to_order(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no night runs on this lab"):
        send(lab, "pause", "Ada")
    assert not lab.nights.exists()


def test_what_stands_already_is_not_asked_for_again(lab: Lab) -> None:
    with LabLock(lab.lock).hold(NIGHT):
        assert running(lab) == NIGHT
        given = [
            send(lab, "resume", "Ada")[1],
            send(lab, "pause", " Ada\n Lovelace ")[1],
            send(lab, "pause", "Bob")[1],
            send(lab, "say", "Ada", text="one")[1],
            send(lab, "say", "Ada", text="one")[1],
            send(lab, "say", "Bob", text="one")[1],
            send(lab, "budget", "Ada", usd=30.0)[1],
            send(lab, "budget", "Bob", usd=30.0)[1],
            send(lab, "budget", "Bob", usd=20.0)[1],
            send(lab, "stop", "Ada", now=False)[1],
            send(lab, "stop", "Ada", now=False)[1],
            send(lab, "stop", "Ada", now=True)[1],
            send(lab, "stop", "Ada", now=False)[1],
        ]
        with pytest.raises(UsageError, match="needs the name"):
            send(lab, "resume", "  ")
    assert given == [False, True, False, True, False, True, True, False, True, True, False, True, False]
    written = orders(lab.control(NIGHT))
    assert [order.id for order in written] == [f"o{n}" for n in range(1, 8)]
    assert written[0].by == "Ada Lovelace"


def test_lines_that_are_no_orders_are_left_out(lab: Lab) -> None:
    path = lab.control(NIGHT)
    path.parent.mkdir(parents=True)
    good = json.dumps({"id": "o1", "by": "Ada", "t": "now", "kind": "pause", "fields": {}})
    path.write_text(
        f'{good}\nnonsense\n[1]\n{{"id": "o2", "by": "x", "t": "", "kind": "dance", "fields": {{}}}}\n{good}'
    )
    [order] = orders(path)
    assert (order.id, order.end) == ("o1", len(good) + 1)
    assert orders(path, order.end) == []


@pytest.mark.slow
def test_words_reach_the_next_turn_and_the_diary(lab: Lab) -> None:
    run = Supervised(lab, "patient")
    run.lingers()
    assert send(lab, "say", "Ada", text=f"please {SECRET_WORD}\nthanks") == (run.night, True)
    result = run.end()
    assert result.reason == "I was told"
    [said] = run.rows("said")
    assert (said["by"], said["read"]) == ("Ada", True)
    transcript = (lab.night(run.night) / "watch_01.jsonl").read_text()
    [told] = [line for line in transcript.splitlines() if "a person of this lab" in line]
    row = json.loads(told)
    assert row["message"]["role"] == "user"
    assert f"> please {SECRET_WORD}\n> thanks\n" in row["message"]["content"][0]["text"]
    entry = Diary(lab.diary).entry(run.night)
    assert entry is not None
    assert f"Read what Ada said: “please {SECRET_WORD} thanks”" in entry.sections["What I did"]


@pytest.mark.slow
def test_words_that_came_too_late_are_in_the_diary(lab: Lab) -> None:
    run = Supervised(lab, "lingering")
    run.lingers()
    send(lab, "stop", "Ada", now=False)
    send(lab, "say", "Ada", text="too late")
    run.go()
    result = run.end()
    assert (result.state, result.reason) == ("stopped", "stopped by Ada")
    assert [row["read"] for row in run.rows("said")] in ([True], [False])
    assert [(row["by"], row["now"]) for row in run.rows("stop_asked")] == [("Ada", False)]
    entry = Diary(lab.diary).entry(run.night)
    assert entry is not None
    assert "too late" in entry.sections["What I did"]
    assert "Ada asked the night to end" in entry.sections["What I did"]


@pytest.mark.slow
def test_stop_now_cancels_the_step(lab: Lab) -> None:
    run = Supervised(lab, "lingering")
    run.lingers()
    began = time.monotonic()
    send(lab, "stop", "Ada", now=True)
    result = run.end(20)
    assert time.monotonic() - began < 15
    assert (result.state, result.reason) == ("stopped", "stopped by Ada at once")
    assert run.rows("tool_finished") == []
    assert run.rows("worker_lost") == []


@pytest.mark.slow
def test_paused_night_takes_no_turn_until_it_goes_on(lab: Lab) -> None:
    run = Supervised(lab, "patient")
    run.lingers()
    send(lab, "pause", "Ada")
    wait(lambda: night_state(lab, run.night).state == "waiting")
    assert night_state(lab, run.night).doing == "paused by Ada"
    time.sleep(1.0)
    turns = len(run.rows("turn"))
    os.kill(run.pid(), signal.SIGKILL)  # a pause outlives the worker
    wait(lambda: len(run.lives()) == 2)
    time.sleep(1.5)
    assert len(run.rows("turn")) == turns
    assert send(lab, "pause", "Ada") == (run.night, False)
    send(lab, "resume", "Bob")
    wait(lambda: len(run.rows("turn")) > turns)
    assert [(row["kind"], row["by"]) for kind in ("paused", "unpaused") for row in run.rows(kind)] == [
        ("paused", "Ada"),
        ("unpaused", "Bob"),
    ]
    send(lab, "say", "Ada", text=SECRET_WORD)
    assert run.end().state == "finished"


@pytest.mark.slow
def test_limits_change_while_it_runs_and_outlive_the_worker(lab: Lab) -> None:
    run = Supervised(lab, "patient")
    run.lingers()
    send(lab, "budget", "Ada", usd=30.0, gpu_seconds=7200.0)
    wait(lambda: run.rows("budget_changed"))
    [changed] = run.rows("budget_changed")
    assert changed["by"] == "Ada"
    assert (changed["limits"]["usd"], changed["limits"]["gpu_seconds"]) == (30.0, 7200.0)
    assert send(lab, "budget", "Ada", usd=30.0)[1] is False
    os.kill(run.pid(), signal.SIGKILL)
    wait(lambda: run.rows("night_resumed"))
    assert run.rows("night_resumed")[0]["limits"] == changed["limits"]
    send(lab, "budget", "Ada", deadline=time.time() - 1)
    result = run.end()
    assert (result.state, result.reason) == ("stopped", "the deadline is past")


@pytest.mark.slow
def test_pause_of_an_earlier_launch_does_not_bind(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    night = str(lab.latest_night())
    holder = living_holder(lab.lock)
    assert holder is not None
    os.kill(holder.pid, signal.SIGSTOP)
    send(lab, "pause", "Ada")
    process.kill()
    os.kill(holder.pid, signal.SIGKILL)
    process.communicate()
    wait(lambda: living_holder(lab.lock) is None)
    assert size_of(lab.control(night)) > 0
    go(lab)
    again = command(lab, "run")
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 0, out
    assert night_state(lab, night).state == "finished"


@pytest.mark.slow
def test_night_that_was_asked_to_stop_and_died_is_closed_and_the_next_one_begins(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    night = str(lab.latest_night())
    holder = living_holder(lab.lock)
    assert holder is not None
    os.kill(holder.pid, signal.SIGSTOP)
    send(lab, "stop", "Ada", now=False)
    process.kill()
    os.kill(holder.pid, signal.SIGKILL)
    process.communicate()
    wait(lambda: living_holder(lab.lock) is None)
    go(lab)
    out, _ = command(lab, "run", brain="quick").communicate(timeout=60)
    assert night_state(lab, night).reason == "stopped by Ada", out
    assert len(lab.night_names()) == 2
    assert night_state(lab, str(lab.latest_night())).state == "finished"


STIRRED = """
from typing import Any

from nightlab.toolbox import ToolContext, tool


@tool(effect="read")
async def stir(ctx: ToolContext) -> dict[str, Any]:
    '''Say something as a person would, while a wait is under way.

    Returns:
        nothing.
    '''
    import asyncio

    from nightlab.night.control import send

    await asyncio.sleep(0.5)
    send(ctx.lab, "say", "Ada", text="look here")
    return {}
"""


@pytest.mark.slow
def test_words_end_a_wait_once(lab: Lab) -> None:
    (lab.tools / "stir.py").write_text(STIRRED)
    agent = lab.agents / "orchestrator.md"
    agent.write_text(agent.read_text().replace("tools:", "tools:\n  - stir\n  - slow_server", 1))
    (lab.tools / "slow_server.py").write_text(SLOW_SERVER)

    def wait_for_it(request: TurnRequest) -> list[Block]:
        told = [b for m in request.messages[1:3] for b in m["content"] if b["type"] == "tool_result"]
        handle = json.loads(told[0]["content"])["data"]["handle"]
        calls: list[Block] = [{"call": "wait", "input": {"handles": [handle], "minutes": 0.05}}]
        return [*calls, {"call": "stir"}] if request.number == 1 else calls

    start: list[Block] = [{"call": "slow_server"}]
    end: list[Block] = [{"call": "end_night", "input": {"reason": "done"}}]
    brain = Scripted([start, wait_for_it, wait_for_it, end])
    result = run_night(lab, Options(hours=1), brain=brain)
    assert result.state == "finished"
    waited = [row["waited"] for row in EventLog(lab.night(result.night)).read() if row["kind"] == "woke"]
    assert waited[0] < 2.5
    assert waited[1] > 2.5
    assert "> look here" in str(brain.requests[2].messages[-1])

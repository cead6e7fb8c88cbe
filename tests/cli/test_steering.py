"""Steering a night from another terminal, with real processes; and the detached run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import night_state
from nightlab.night.lock import LabLock, living_holder
from tests.night.supervised import ROOT, go, lingering_lab, wait

Call = Callable[..., Result]
NIGHT = "20261122-230000"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with a tool that lingers; whatever still runs on it at the end is ended."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lab = lingering_lab(tmp_path / "lab", table='human = "ada"')
    yield lab
    for lock in (lab.supervisor, lab.lock):
        if (holder := living_holder(lock)) and holder.pid != os.getpid():
            os.kill(holder.pid, signal.SIGKILL)


def detach(lab: Lab, brain: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `nightlab run --detach`."""
    argv = [sys.executable, "-m", "nightlab", "run", "--detach", "--brain-from", f"tests.night.brains:{brain}", *words]
    return subprocess.run(argv, cwd=lab.root, capture_output=True, text=True, timeout=120, check=False)


def done(record: dict[str, Any]) -> dict[str, Any]:
    """The done record: the last line of the log."""
    row: dict[str, Any] = json.loads(Path(record["log"]).read_text().splitlines()[-1])
    return row


def gone(pid: int) -> bool:
    """Whether a process of another session has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    "words", [["stop"], ["stop", "--now"], ["pause"], ["resume"], ["say", "hello"], ["budget", "3"]]
)
def test_without_a_night_it_is_said(call: Call, words: list[str]) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert "no night runs on this lab" in result.output
    assert "nightlab run" in result.output


def test_night_that_was_cut_off_is_named(call: Call, lab: Lab) -> None:
    EventLog(lab.night(NIGHT)).emit("night_started", limits={})
    assert f"night {NIGHT} was cut off: `nightlab run` goes on with it" in call("pause").output


def test_orders_are_said_and_only_once(call: Call, lab: Lab) -> None:
    with LabLock(lab.lock).hold(NIGHT):
        assert call("pause").output == f"{NIGHT}: it takes no further turn; work under way goes on\n"
        assert "asked for already" in call("pause", "--by", "bob").output
        assert "reads this before its next turn" in call("say", "look", "at", "Gemma").output
        assert "its limits change" in call("budget", "30", "--until", "08:00", "--gpu-hours", "2").output
        assert "cancels its step" in call("stop", "--now").output
        assert call("say", "  ").exit_code == 2
        assert "at most 2000" in call("say", "x" * 2001).output
    rows = [json.loads(line) for line in lab.control(NIGHT).read_text().splitlines()]
    assert [(row["by"], row["kind"]) for row in rows] == [("ada", k) for k in ("pause", "say", "budget", "stop")]
    assert rows[2]["fields"]["usd"] == 30.0
    assert rows[2]["fields"]["gpu_seconds"] == 7200.0


def test_limits_are_shown(call: Call, lab: Lab) -> None:
    assert "no night yet" in call("budget").output
    EventLog(lab.night(NIGHT)).emit("night_started", limits={"usd": 5.0, "gpu_seconds": 7200.0, "deadline": 1.8e9})
    shown = call("budget").output
    assert shown.startswith(f"{NIGHT}: $0.00 of $5, 0.0 of 2 GPU h, until ")


@pytest.mark.slow
def test_detached_night_is_steered_and_leaves_its_record(lab: Lab, call: Call) -> None:
    launched = detach(lab, "lingering", "--hours", "1")
    assert launched.returncode == 0, launched.stderr
    record = json.loads(launched.stdout)
    assert set(record) == {"night", "pid", "log", "events"}
    assert os.getsid(record["pid"]) == record["pid"]
    assert night_state(lab, record["night"]).state == "running"
    assert lab.heartbeat.exists()
    os.kill(record["pid"], signal.SIGHUP)
    second = detach(lab, "lingering")
    assert second.returncode == 1
    assert record["night"] in second.stderr
    assert call("stop").exit_code == 0
    go(lab)
    wait(lambda: gone(record["pid"]))
    ended = done(record)
    assert set(ended) == {"night", "state", "reason", "seconds", "usd"}
    assert (ended["night"], ended["state"], ended["reason"]) == (record["night"], "stopped", "stopped by ada")
    assert "\x1b" not in Path(record["log"]).read_text()


@pytest.mark.slow
def test_detached_run_takes_over_a_night_whose_supervisor_died(lab: Lab) -> None:
    first = json.loads(detach(lab, "lingering", "--hours", "1").stdout)
    worker = living_holder(lab.lock)
    os.kill(first["pid"], signal.SIGKILL)
    wait(lambda: living_holder(lab.supervisor) is None)
    launched = detach(lab, "lingering")
    assert launched.returncode == 0, launched.stderr
    second = json.loads(launched.stdout)
    assert second["night"] == first["night"]
    assert living_holder(lab.lock) == worker
    go(lab)
    wait(lambda: gone(second["pid"]))
    assert done(second)["state"] == "finished"


@pytest.mark.slow
def test_detached_night_that_is_over_at_once_did_run(lab: Lab) -> None:
    launched = detach(lab, "quick")
    assert launched.returncode == 0, launched.stderr
    record = json.loads(launched.stdout)
    wait(lambda: gone(record["pid"]))
    assert done(record)["state"] == "finished"


@pytest.mark.slow
def test_detached_run_that_cannot_begin_exits_with_the_reason(lab: Lab) -> None:
    launched = detach(lab, "nobody")
    assert launched.returncode == 1
    assert "nothing runs" in launched.stderr
    assert "names no function" in launched.stderr
    assert "Traceback" not in launched.stderr
    assert launched.stdout == ""
    assert living_holder(lab.supervisor) is None
    assert done({"log": lab.worker / "run.log"})["state"] == "failed"

"""The supervisor with real workers: killed, stopped, blocked, late; itself killed too. Every night is wrapped up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab.errors import LockHeld, NightlabError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import Options, night_state, preflight
from nightlab.night.child import Child
from nightlab.night.clocks import STEP, Clocks, Deadline, Patience, Watched
from nightlab.night.lock import living_holder
from nightlab.night.options import Launch
from nightlab.night.state import limits_of
from nightlab.record.diary import Diary
from tests.night.conftest import git
from tests.night.supervised import ROOT, Supervised, command, go, lingering_lab, wait

HEAVY = {"anthropic", "langgraph", "pandas", "pydantic", "git", "aiohttp", "numpy", "jinja2"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with a tool that lingers; whatever still runs on it at the end is ended."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lab = lingering_lab(tmp_path / "lab")
    yield lab
    for lock in (lab.supervisor, lab.lock):
        if holder := living_holder(lock):
            os.kill(holder.pid, signal.SIGKILL)


def test_it_is_light_and_short() -> None:
    code = f"import nightlab.night.launching, sys; print({HEAVY} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    assert len((ROOT / "src/nightlab/night/supervisor.py").read_text().splitlines()) <= 200


class Time:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.wall = self.elapsed = self.awake = 1000.0

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.elapsed, lambda: self.awake)


def test_no_clock_loses_the_deadline() -> None:
    at = Time()
    deadline = Deadline(at.clocks())
    assert not deadline.past()
    deadline.set(1000.0 + 8 * 3600)
    at.wall += 6 * 3600  # the machine slept
    at.elapsed += 6 * 3600
    assert not deadline.past()
    at.wall -= 6 * 3600  # the clock is set back
    assert not deadline.past()
    at.elapsed += 2 * 3600
    assert deadline.past()
    deadline.set(at.wall + 60)
    assert not deadline.past()
    at.wall += 61  # the clock is set forward
    assert deadline.past()
    deadline.set(None)
    assert not deadline.past()


def test_what_passes_while_nobody_watches_is_nobodys_silence() -> None:
    at = Time()
    watched = Watched(at.clocks())
    at.awake += 2.0
    assert watched.look() == 2.0
    at.awake += 6 * 3600
    assert watched.look() == 2.0 + STEP


@pytest.mark.slow
def test_clock_that_jumps_ends_no_healthy_worker(lab: Lab) -> None:
    leap = [0.0]
    clocks = Clocks(wall=lambda: time.time() + leap[0])
    run = Supervised(lab, "lingering", clocks=clocks, hours=8, patience=Patience(stuck=3, late=1, grace=1))
    run.lingers()
    for hours in (6, -12, 6):
        leap[0] += 3600 * hours
        time.sleep(0.6)
    run.go()
    assert run.end().state == "finished"
    assert run.rows("worker_lost") == []


@pytest.mark.slow
def test_killed_worker_is_started_again_and_the_night_goes_on(lab: Lab) -> None:
    run = Supervised(lab, "lingering")
    run.lingers()
    os.kill(run.pid(), signal.SIGKILL)
    wait(lambda: run.rows("worker_lost"))
    assert night_state(lab, run.night).state == "running"
    with pytest.raises(LockHeld):
        preflight(lab, Options())
    run.lingers(2)
    run.go()
    result = run.end()
    assert (result.state, result.reason) == ("finished", "all is done")
    [lost] = run.rows("worker_lost")
    assert (lost["why"], lost["again"]) == ("killed by signal 9", True)
    assert [row["limits"] for row in run.lives()] == [run.rows("night_started")[0]["limits"]] * 2
    assert len(run.rows("turn")) == 2
    assert git(lab.root, "status", "--porcelain", "state") == ""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "blocked"])
def test_worker_without_a_sign_of_life_is_replaced(lab: Lab, how: str) -> None:
    patience = Patience(stuck=3.0, grace=0.5, pause=0.1, restarts=2)
    run = Supervised(lab, "lingering" if how == "stopped" else "blocking", patience=patience)
    if how == "stopped":
        run.lingers()
        os.kill(run.pid(), signal.SIGSTOP)
        wait(lambda: len(run.lives()) == 2)
        run.go()
    assert run.end().state == "finished"
    [lost] = run.rows("worker_lost")
    assert lost["why"].startswith("no sign of life for 3 s")


@pytest.mark.slow
def test_worker_that_dies_again_and_again_is_given_up_and_the_night_wrapped_up(lab: Lab) -> None:
    result = Supervised(lab, "dying").end()
    assert result.state == "failed"
    assert result.reason == "its process was lost 3 times; last: killed by signal 9"
    assert night_state(lab, result.night).state == "failed"
    entry = Diary(lab.diary).entry(result.night)
    assert entry is not None
    assert "The night's process was lost" in entry.sections["Problems and fixes"]
    assert f"Nightlab-Night: {result.night}" in git(lab.root, "log", "-1", "--format=%B")
    assert git(lab.root, "status", "--porcelain", "state") == ""


@pytest.mark.slow
def test_worker_beyond_the_deadline_is_ended(lab: Lab) -> None:
    leap = [0.0]
    clocks = Clocks(wall=lambda: time.time() + leap[0])
    run = Supervised(lab, "lingering", clocks=clocks, patience=Patience(late=1.0, grace=1.0))
    run.lingers()
    leap[0] = 2 * 3600.0
    result = run.end()
    assert (result.state, result.reason) == ("stopped", "the deadline is past")
    [lost] = run.rows("worker_lost")
    assert "beyond the deadline" in lost["why"]
    assert not lost["again"]


@pytest.mark.slow
def test_what_keeps_a_night_from_beginning_is_said(lab: Lab) -> None:
    run = Supervised(lab, "nobody")
    with pytest.raises(NightlabError, match="names no function") as caught:
        run.end()
    assert caught.value.exit_code == 2
    assert lab.latest_night() is None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_to_the_supervisor_drains_the_night(lab: Lab, number: signal.Signals) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    night = str(lab.latest_night())
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    go(lab)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3, out
    assert night_state(lab, night).reason == "stopped from outside"
    assert f"Nightlab-Night: {night}" in git(lab.root, "log", "-1", "--format=%B")


@pytest.mark.slow
def test_second_signal_cancels_the_step(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    process.terminate()
    time.sleep(1.0)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert night_state(lab, str(lab.latest_night())).state == "stopped"


@pytest.mark.slow
def test_without_its_supervisor_a_worker_finishes(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    process.kill()
    process.communicate()
    night = str(lab.latest_night())
    go(lab)
    wait(lambda: living_holder(lab.lock) is None)
    assert night_state(lab, night).state == "finished"
    assert f"Nightlab-Night: {night}" in git(lab.root, "log", "-1", "--format=%B")
    assert lab.brief.is_file()


@pytest.mark.slow
def test_worker_without_a_supervisor_is_taken_over_as_it_runs(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    process.kill()
    process.communicate()
    night, worker = str(lab.latest_night()), living_holder(lab.lock)
    assert worker
    again = command(lab, "run", "--budget", "7")
    wait(lambda: living_holder(lab.supervisor))
    with pytest.raises(LockHeld):
        preflight(lab, Options())
    events = EventLog(lab.night(night))
    wait(lambda: events.last("budget_changed"))
    assert living_holder(lab.lock) == worker
    os.kill(worker.pid, signal.SIGKILL)
    wait(lambda: events.last("night_resumed"))
    go(lab)
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 0, out
    [lost] = [row for row in EventLog(lab.night(night)).read() if row["kind"] == "worker_lost"]
    assert lost["why"] == "its process is gone"
    assert lab.night_names() == [night]
    assert limits_of(EventLog(lab.night(night)).read())["usd"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
def test_worker_that_is_first_at_the_lock_is_taken_over(lab: Lab, begun: bool) -> None:
    """A worker that was too young to be seen when the next launch began; it may run a night that has no event yet."""
    first = Launch(str(lab.root), "20260101-000000", deadline=time.time() + 3600, brain="tests.night.brains:lingering")
    orphan = Child(lab, first)
    wait(lambda: living_holder(lab.lock))
    run = Supervised(lab, "nobody", night=first.night if begun else "20260101-000001")
    wait(lambda: living_holder(lab.supervisor))
    wait(lambda: (holder := living_holder(lab.supervisor)) and holder.night == first.night)
    go(lab)
    assert run.end().night == first.night
    orphan.kill()
    assert lab.night_names() == [first.night]
    assert night_state(lab, first.night).state == "finished"


@pytest.mark.slow
def test_killed_with_its_supervisor_a_night_is_resumed(lab: Lab) -> None:
    process = command(lab, "run", "--hours", "1")
    wait(lambda: lab.latest_night() and "linger" in night_state(lab, str(lab.latest_night())).doing)
    night = str(lab.latest_night())
    holder = living_holder(lab.lock)
    assert holder is not None
    process.kill()
    os.kill(holder.pid, signal.SIGKILL)
    process.communicate()
    wait(lambda: living_holder(lab.lock) is None)
    assert night_state(lab, night).state == "dead"
    go(lab)
    again = command(lab, "run")
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 0, out
    assert lab.night_names() == [night]
    assert night_state(lab, night).state == "finished"

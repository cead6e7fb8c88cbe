"""What Slurm's accounting says, as it was recorded from slurmdbd 22.05, once the queue has forgotten the jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.compute import slurm_queue
from nightlab.compute.place import JobSpec, JobState
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_job import SlurmJob, standing
from nightlab.compute.slurm_queue import accounted, rows_of

RECORDED = """\
1|COMPLETED|0:0|n1|ok
2|FAILED|3:0|n1|three
4|REQUEUED|0:0|n1|req
5_0|COMPLETED|0:0|n2|arr
5_1|FAILED|1:0|n1|arr
6|PENDING|0:0|n1|allocation
7|CANCELLED by 0|0:0|None assigned|pend
10|TIMEOUT|0:0|n1|tl
11|PREEMPTED|0:0|n2|pre
12|NODE_FAIL|0:0|n1|nf
15|RUNNING|0:0|n1|runaway
16_0|CANCELLED|0:0|n1|arrun
16_1|CANCELLED|0:0|n1|arrun
16_[2-5%2]|CANCELLED|0:0|None assigned|arrun
17_[1,3,6-9]|PENDING|0:0|None assigned|more
"""

Sites = Callable[[str], Slurm]


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        ("1", "lost", "completed"),  # without the exit file of its wrapper no success is believed
        ("4", "queued", "0:0"),
        ("7", "stopped", "cancelled"),
        ("10", "stopped", "timeout"),
        ("11", "stopped", "preempted"),
        ("12", "lost", "node_fail"),
        ("16_1", "stopped", "cancelled"),
        ("16_4", "stopped", "cancelled"),  # it shares the row of the tasks that were never started
        ("17_3", "queued", "0:0"),
        ("17_4", "lost", "unknown to Slurm"),
        ("16_6", "lost", "unknown to Slurm"),
    ],
)
def test_every_state_of_the_accounting_has_its_meaning(number: str, state: JobState, reason: str) -> None:
    assert standing(accounted(rows_of(RECORDED), number), ended=False) == (state, reason)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sites:
    """Slurm as a place whose queue is empty, and whose accounting says what was recorded."""

    def made(said: str) -> Slurm:
        (tmp_path / "said").write_text(said)
        for name, script in (("squeue", "exit 0"), ("sacct", f"cat {tmp_path}/said")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        return Slurm(tmp_path / "jobs")

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return made


def job(place: Slurm, number: str) -> SlurmJob:
    """A job that was submitted, as its folder has it."""
    folder = place.folder / "k"
    folder.mkdir(parents=True, exist_ok=True)
    one = SlurmJob(folder, place.queue)
    one.freeze(JobSpec("k", ("true",), "/"))
    one.submitted(number)
    return one


def test_what_the_accounting_thinks_alive_and_the_queue_does_not_know_is_lost(
    site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    runaway = job(site("15|RUNNING|0:0|n1|allocation\n"), "15")
    assert runaway.state() == "running", "the accounting may be late"
    monkeypatch.setattr(slurm_queue, "LATE", 0.0)
    assert (runaway.state(), runaway.reason()) == ("lost", "unknown to Slurm")


def test_a_number_that_was_given_again_is_another_job(site: Sites) -> None:
    place = site("2|CANCELLED by 0|0:0|n1|another\n")
    again = job(place, "2")
    assert (again.state(), again.reason()) == ("lost", "unknown to Slurm")
    again.stop(grace=0.1)  # and it is not cancelled in its place: there is no scancel here
    place.stop_all([again], grace=0.1)
    assert json.loads((again.folder / "stop.json").read_text())["grace"] == 0.1

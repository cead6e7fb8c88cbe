"""What Slurm's accounting says, as it was recorded from slurmdbd 22.05, once the queue has forgotten the jobs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.compute import slurm_queue
from nightlab.compute.place import JobSpec, JobState
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_job import SlurmJob, name_of, standing
from nightlab.compute.slurm_queue import accounted, rows_of
from nightlab.job import BUSY, claim
from nightlab.job_folder import CLOCKS

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
    """Slurm as a place with an empty queue and the recorded accounting; what it is handed is noted."""

    def made(said: str) -> Slurm:
        (tmp_path / "said").write_text(said)
        submits = f"echo $* >> {tmp_path}/submitted; wc -l < {tmp_path}/submitted"
        commands = {"squeue": "exit 0", "sacct": f"cat {tmp_path}/said", "scontrol": "exit 0", "sbatch": submits}
        for name, script in commands.items():
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


def test_an_array_that_is_continued_begins_after_what_still_waits(site: Sites, tmp_path: Path) -> None:
    """Else twice as many as `at_once` would run side by side."""
    place = site("")
    specs = [JobSpec(f"k{n}", ("true",), "/") for n in range(4)]
    first = place.start_all(specs[:2], at_once=1)
    (tmp_path / "said").write_text(f"1_[0-1]|PENDING|0:0|None assigned|{name_of([job.folder for job in first])}\n")
    assert [job.id for job in place.start_all(specs[:3], at_once=1)] == ["1_0", "1_1", "2"]
    for job in place.jobs():
        (job.folder / "exit.json").write_text('{"code": 0, "reason": "exited"}')
    assert [job.id for job in place.start_all(specs, at_once=1)] == ["1_0", "1_1", "2", "3"]
    array, after, alone = (tmp_path / "submitted").read_text().splitlines()
    assert ("--array=0-1%1" in array, "--dependency" in array) == (True, False)
    assert "--dependency=afterany:1 " in after
    assert "--dependency" not in alone, "nothing waits any more"


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ("gpu", 1),
        ("gpu:2,shard:3", 2),
        ("gpu:a100", 1),
        ("gpu:a100-sxm4-80gb:4", 4),
        ("gpu:1g.10gb:1,tmp:1", 1),
        ("--gres=gpu:2,tmp:1", 2),
        ("--gres gpu:h100:2", 2),
        ("--gpus=h100:4", 4),
        ("--gpus-per-node=a100:2 -N 1", 2),
        ("--gpus 3", 3),
        ("-G 2", 2),
        ("-G2", 2),
        ("--gpus=2 --gres=gpu:2", 2),
        ("--gres=gpu:1 --gres=gpu:4", 4),
        ("--constraint=gpu", 0),
        ("-p gpu -C gpu", 0),
        ("--gres=tmp:2", 0),
        ("", 0),
    ],
)
def test_gpus_are_counted_in_every_form_that_sbatch_takes(tmp_path: Path, flags: str, gpus: int) -> None:
    named = "flags" if flags.startswith("-") else "gres"
    assert Slurm(tmp_path).gpus({named: flags}) == gpus


def test_a_task_whose_owner_died_while_it_waited_never_begins(tmp_path: Path) -> None:
    folder, run = tmp_path / "k", {"id": "7", "restart": 1}
    folder.mkdir()
    one = SlurmJob(folder, Slurm(tmp_path).queue)
    one.freeze(JobSpec("k", ("true",), "/", lease_seconds=60, requeue=True))

    def waited(seconds: float, lease: float | None = None) -> int | None:
        """What a later generation is told, so long after the lease was last renewed."""
        for name in ("exit.json", "start.json"):
            (folder / name).write_text('{"code": 1, "reason": "term", "t": 1}')
        (folder / "lock").unlink(missing_ok=True)
        one.renew(lease)
        then = time.time() - seconds
        os.utime(folder / "lease", (then, then))
        return claim(str(folder), run)

    assert waited(60 + CLOCKS - 30) is None, "the clocks of two nodes differ"
    assert waited(60 + CLOCKS + 30, lease=3600) is None, "it was to be kept for longer"
    assert not (folder / "exit.json").exists()
    assert waited(60 + CLOCKS + 30) == BUSY
    assert (one.state(), one.reason(), one.exit_code(), one.began()) == ("stopped", "lease", None, None)
    assert claim(str(folder), {**run, "restart": 2}) == 0, "nor does a later start of it"

"""What holds for a job in every place: started once, found again, ended whole, its lease, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightlab.compute.local import Local
from nightlab.compute.place import OVER, JobSpec, ended
from nightlab.compute.slurm import Slurm
from nightlab.errors import UsageError
from tests.compute.conftest import alive, spec, until

Place = Local | Slurm
LAUNCH = """
import sys, time
from pathlib import Path
from nightlab.compute.local import Local
from nightlab.compute.place import JobSpec
from nightlab.compute.slurm import Slurm
place = {"local": Local, "slurm": Slurm}[sys.argv[1]](Path(sys.argv[2]))
place.start(JobSpec("k", ("/bin/bash", "-c", sys.argv[3]), "/"))
print("up", flush=True)
time.sleep(60)
"""


def test_a_job_runs_once_for_its_key_with_its_output_in_the_log(anywhere: Place, tmp_path: Path) -> None:
    one = JobSpec(
        "one/llama", ("/bin/bash", "-c", 'echo "$PWD $COLOUR"; echo oops >&2; exit 3'), str(tmp_path), {"COLOUR": "red"}
    )
    job = anywhere.start(one)
    assert anywhere.start(one).id == job.id != ""
    assert job.wait(60) == "failed"
    assert (job.exit_code(), job.reason(), job.port()) == (3, "exited", None)
    assert job.log.read_text() == f"{tmp_path} red\noops\n"
    assert job.spec == one
    with pytest.raises(UsageError, match="another spec"):
        anywhere.start(JobSpec("one/llama", ("/bin/true",), str(tmp_path)))
    with pytest.raises(UsageError, match="command"):
        anywhere.start(JobSpec("nothing", (), str(tmp_path)))
    assert anywhere.start(one).state() == "failed", "a job that is over is not run again"
    assert job.log.read_text().count("oops") == 1


def test_a_fresh_process_finds_a_job_whose_launcher_was_killed(anywhere: Place, tmp_path: Path) -> None:
    words = [sys.executable, "-c", LAUNCH, anywhere.name, str(anywhere.folder), "echo $$; exec sleep 60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as night:
        assert night.stdout is not None
        assert night.stdout.readline() == "up\n"
        os.kill(night.pid, signal.SIGKILL)
    job = anywhere.find("k")
    assert job is not None
    until(lambda: job.state() == "running" and job.log.exists() and job.log.read_text())
    assert [found.id for found in anywhere.jobs()] == [job.id]
    assert anywhere.find("another") is None
    (pid,) = map(int, job.log.read_text().split())
    job.stop(grace=1)
    assert (job.state(), job.reason(), alive(pid)) == ("stopped", "stopped", False)


def test_stop_ends_the_whole_tree_and_what_ignores_term(anywhere: Place, tmp_path: Path) -> None:
    script = "trap '' TERM; echo $$; setsid bash -c 'trap \"\" TERM; echo $$; while true; do sleep 0.1; done' & wait"
    job = anywhere.start(spec("tree", f"{script}; sleep 60", tmp_path))
    until(lambda: job.log.exists() and len(job.log.read_text().split()) == 2)
    pids = [int(word) for word in job.log.read_text().split()[:2]]
    job.stop(grace=0.3)
    assert (job.state(), job.reason()) == ("stopped", "stopped")
    assert not any(alive(pid) for pid in pids)


def test_the_lease_ends_a_job_whose_owner_is_gone(anywhere: Place, tmp_path: Path) -> None:
    job = anywhere.start(spec("lease", "echo $$; sleep 60", tmp_path, lease=0.8))
    until(lambda: job.log.exists() and job.log.read_text())
    (pid,) = map(int, job.log.read_text().split()[:1])
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        job.renew()
        time.sleep(0.1)
    assert job.state() == "running", "a renewed lease holds"
    job.renew(2.5)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.6:
        assert job.state() == "running", "a lease may be given for longer"
        time.sleep(0.1)
    assert job.wait(60) == "stopped"
    assert (job.reason(), alive(pid)) == ("lease", False)


async def test_a_job_is_awaited_with_its_lease_renewed(anywhere: Place, tmp_path: Path) -> None:
    job = anywhere.start(spec("awaited", "sleep 2.5; echo done", tmp_path, lease=1))
    assert await ended(job, timeout=60, look=0.2) == "finished"
    left = anywhere.start(spec("left", "sleep 60", tmp_path))
    assert await ended(left, timeout=0.2, look=0.1) not in OVER


def test_a_job_picks_a_free_port_where_it_runs(anywhere: Place, tmp_path: Path) -> None:
    listen = "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); print(sys.argv[1])"
    job = anywhere.start(JobSpec("port", (sys.executable, "-c", listen, "{port}"), str(tmp_path), pick_port=True))
    assert job.wait(60) == "finished", job.log.read_text()
    assert job.port() == int(job.log.read_text()) > 0


def test_many_jobs_are_started_at_once_and_a_queue_runs_a_few_at_a_time(anywhere: Place, tmp_path: Path) -> None:
    specs = [spec(f"many-{n}", f"sleep 0.5; echo {n}; exit {n}", tmp_path) for n in range(5)]
    jobs = anywhere.start_all(specs, at_once=2)
    assert [job.id for job in anywhere.start_all(specs, at_once=2)] == [job.id for job in jobs]
    assert anywhere.start_all([]) == []
    until(lambda: all(job.state() in OVER for job in jobs))
    assert [(job.exit_code(), job.log.read_text()) for job in jobs] == [(n, f"{n}\n") for n in range(5)]
    if anywhere.queues:
        begun = sorted(job.began() or 0.0 for job in jobs)
        assert all(begun[n + 2] - begun[n] > 0.4 for n in range(3)), "two at a time, over the size of an array, too"


def test_one_of_many_jobs_is_ended_and_then_all(anywhere: Place, tmp_path: Path) -> None:
    jobs = anywhere.start_all([spec(f"some-{n}", "echo $$; exec sleep 60", tmp_path) for n in range(3)], at_once=2)
    until(lambda: all(job.state() == "running" and job.log.exists() and job.log.read_text() for job in jobs[:2]))
    jobs[0].stop(grace=0.2)
    assert [jobs[0].state(), jobs[1].state()] == ["stopped", "running"]
    until(lambda: jobs[2].state() == "running" and jobs[2].log.exists() and jobs[2].log.read_text())
    anywhere.stop_all(jobs, grace=0.2)
    assert {job.state() for job in jobs} == {"stopped"}
    assert not any(alive(int(job.log.read_text())) for job in jobs)

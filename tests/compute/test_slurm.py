"""The hazards of a real Slurm: ended from outside, run twice, the controller away, a node that is cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.compute import open_place
from nightlab.compute.place import JobState
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_job import SlurmJob
from nightlab.compute.slurm_site import inspect
from nightlab.errors import NightlabError, PlaceUnreachable, UsageError
from nightlab.lab import Lab
from tests.compute.conftest import alive, spec, until
from tests.slurm import Cluster

pytestmark = [pytest.mark.real, pytest.mark.slow(10)]

RECOGNISED = 30.0  # seconds within which a trouble must be seen
WRITES = "echo start >> runs; trap 'echo term >> runs; exit 1' TERM; sleep 60 & wait"


def seen(job: SlurmJob, state: JobState, reason: str | None, since: float | None = None) -> None:
    """The job comes to be so within the bound, asked through a place of its own as a fresh process would."""
    fresh = Slurm(job.folder.parent)
    begun = since or time.monotonic()
    found = fresh.find(job.spec.key)
    assert found is not None
    until(lambda: (found.state(), found.reason()) == (state, reason), RECOGNISED)
    assert time.monotonic() - begun < RECOGNISED


def running(job: SlurmJob) -> Callable[[], bool]:
    return lambda: job.state() == "running" and job.log.exists() and bool(job.log.read_text())


def pids(job: SlurmJob) -> list[int]:
    return [int(word) for word in job.log.read_text().splitlines() if word.isdigit()]


def test_what_ends_a_job_from_outside_is_told_apart(cluster: Cluster, queue: Slurm, tmp_path: Path) -> None:
    whole = {"flags": "--exclusive --nodelist=n2"}
    cancelled = {"flags": "--nodelist=n1"}
    jobs = {
        name: queue.start(spec(name, f"echo $$; {WRITES.replace('runs', f'runs-{name}')}", tmp_path, resources=asked))
        for name, asked in {"cancelled": cancelled, "preempted": whole}.items()
    }
    pending = queue.start(spec("pending", "true", tmp_path, resources=whole))
    for job in jobs.values():
        until(running(job))
    until(lambda: pending.state() == "queued")
    cluster.slurm("scancel", jobs["cancelled"].id)
    urgent = queue.start(spec("urgent", "sleep 1", tmp_path, resources={"partition": "urgent", **whole}))
    for name, job in jobs.items():
        seen(job, "stopped", name)
        end = json.loads((job.folder / "exit.json").read_text())
        assert end["reason"] == "term", "the exit file is whole, however often Slurm sends TERM"
        assert not any(alive(pid) for pid in pids(job))
        assert queue.start(job.spec).state() == "stopped", "and the key is not run again"
    assert urgent.wait(60) == pending.wait(60) == "finished"
    assert (tmp_path / "runs-cancelled").read_text() == "start\nterm\n"


def test_a_job_is_submitted_once_and_run_once(cluster: Cluster, queue: Slurm, tmp_path: Path) -> None:
    one = spec("llama-3.0", "echo ran >> runs; sleep 2", tmp_path, resources={"gres": "gpu:1", "time": "5"})
    job = queue.start(one)
    shown = cluster.slurm("squeue", "-h", "-j", job.id, "-o", "%j %l %b")
    assert shown.startswith("llama-3.0-")
    assert shown.endswith("5:00 gres:gpu:1")
    (job.folder / "submitted.json").unlink()  # as after a kill between sbatch and the note of its number
    again = Slurm(queue.folder).start(one)
    assert again.id == job.id
    script = job.folder / "job.sh"
    other = cluster.slurm("sbatch", "--parsable", "-o", "/dev/null", str(script))  # the same job, as another number
    assert job.wait(60) == "finished"
    until(lambda: "COMPLETED" in cluster.slurm("squeue", "-h", "-t", "all", "-j", other, "-o", "%T"))
    assert (tmp_path / "runs").read_text() == "ran\n"
    many = [spec(f"task-{n}", f"echo {n} >> tasks; sleep 1", tmp_path) for n in range(3)]
    tasks = [job.id for job in queue.start_all(many)]
    assert tasks == [f"{tasks[0].split('_')[0]}_{n}" for n in range(3)]
    for folder in queue.folder.glob("task-*"):
        (folder / "submitted.json").unlink()
    (other_of_them,) = Slurm(queue.folder).start_all(many[1:2])  # asked for alone, it is found as a task all the same
    assert other_of_them.id == tasks[1]
    assert [job.id for job in Slurm(queue.folder).start_all(many)] == tasks
    until(lambda: all(job.state() == "finished" for job in queue.start_all(many)))
    assert sorted((tmp_path / "tasks").read_text().split()) == ["0", "1", "2"]
    with pytest.raises(NightlabError, match=r"refused.*partition"):
        queue.start(spec("nowhere", "true", tmp_path, resources={"partition": "moon"}))
    with pytest.raises(UsageError, match="gpus"):
        queue.start(spec("typo", "true", tmp_path, resources={"gpus": "1"}))


def test_a_controller_that_is_away_ends_no_job(cluster: Cluster, queue: Slurm, tmp_path: Path) -> None:
    kept = queue.start(spec("kept", "echo $$; sleep 60", tmp_path))
    short = queue.start(spec("short", "echo $$; sleep 3; exit 4", tmp_path))
    orphan = queue.start(spec("orphan", "echo $$; sleep 60", tmp_path, lease=4))
    for job in (kept, short, orphan):
        until(running(job))
    since = time.monotonic()
    cluster.do("stop-controller")
    try:
        until(lambda: kept.state() == "unreachable", RECOGNISED)
        assert time.monotonic() - since < RECOGNISED
        assert "squeue" in str(kept.reason()) or "controller" in str(kept.reason())
        assert short.wait(60) == "failed", "the exit file is read without the controller"
        with pytest.raises(PlaceUnreachable):
            queue.start(spec("later", "true", tmp_path))
        assert orphan.wait(60) == "stopped", "nor does the lease need it"
        assert orphan.reason() == "lease"
    finally:
        cluster.do("start-controller")
    seen(kept, "running", None)
    assert queue.start(spec("later", "true", tmp_path)).wait(60) == "finished"
    just = queue.start(spec("just", "echo ran >> just; sleep 1", tmp_path))
    cluster.do("kill-controller")
    cluster.do("start-controller")
    until(lambda: just.state() in ("finished", "lost"), RECOGNISED)
    kept.stop(grace=0.5)
    assert kept.state() == "stopped"
    ran = (tmp_path / "just").read_text() if (tmp_path / "just").exists() else ""
    assert ran == ("ran\n" if just.state() == "finished" else ""), "killed just after the submission: once or never"


def test_a_node_that_is_cut_off_and_a_time_limit(cluster: Cluster, queue: Slurm, tmp_path: Path) -> None:
    """The processes on it run on: one that must not run twice is lost, one that may goes on elsewhere.

    Meanwhile, on the other node, a job meets its time limit.
    """
    there, lease = {"flags": "--nodelist=n1"}, 120.0
    server = queue.start(spec("server", "echo $$; exec sleep 99", tmp_path, lease, resources=there))
    full = "until [ -e go ]; do sleep 0.1; done"
    queue.start(spec("full", full, tmp_path, lease, resources={"flags": "--nodelist=n2 --exclusive"}))
    # It may run on either node, and begins on n1, since n2 is full.
    train = queue.start(spec("train", "echo $$; echo run >> runs; exec sleep 99", tmp_path, lease, requeue=True))
    late = queue.start(spec("late", "echo $$; sleep 99", tmp_path, resources={"flags": "--nodelist=n2"}))
    queue.warning = 120
    save = "trap 'sleep 1; echo saved; exit 3' TERM; echo $$; sleep 99 & wait"
    warned = queue.start(
        spec("warned", save, tmp_path, requeue=True, resources={"time": "2", "flags": "--nodelist=n2"})
    )
    for job in (server, train):
        until(running(job))
    (tmp_path / "go").touch()
    (zombie,), (first,) = pids(server), pids(train)
    since = time.monotonic()
    cluster.do("kill-node", "n1")
    try:
        until(running(late))
        timed = time.monotonic()
        cluster.slurm("scontrol", "update", f"jobid={late.id}", "TimeLimit=0")
        seen(server, "lost", "node_fail", since)
        assert alive(zombie), "Slurm has given it up, and it runs on"
        server.stop(grace=0.5)
        until(lambda: not alive(zombie))
        until(lambda: train.state() == "queued", RECOGNISED)
        seen(late, "stopped", "timeout", timed)
        assert "DUE TO TIME LIMIT" in late.log.read_text()
        seen(warned, "stopped", "timeout", timed)
        assert (warned.exit_code(), warned.log.read_text().split()[1]) == (3, "saved"), "told before its time was over"
        cluster.slurm("scontrol", "update", f"jobid={train.id}", "StartTime=now")
        until(lambda: len(pids(train)) == 2)
        until(lambda: not alive(first))
        assert alive(pids(train)[1]), "the later generation runs, the earlier one has left"
        assert train.state() == "running"
    finally:
        cluster.do("start-node", "n1")
    assert (tmp_path / "runs").read_text() == "run\nrun\n"
    train.stop(grace=0.5)
    assert (train.state(), train.reason()) == ("stopped", "stopped")


def test_a_lab_on_slurm_is_checked_before_its_night(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '[tool.nightlab]\nplace = "slurm"\nslurm-partition = "{}"\nslurm-flags = "--mem=10M -c 2"\n'
    (tmp_path / "pyproject.toml").write_text(table.format("main"))
    lab = Lab.open(tmp_path)
    place = open_place(lab)
    assert isinstance(place, Slurm)
    assert place.words({"gres": "gpu:1"}) == ["--partition=main", "--gres=gpu:1", "--mem=10M", "-c", "2"]
    found = list(inspect(lab))
    assert all(right for right, _, _ in found), found
    assert "partitions main, urgent" in found[0][1]
    (tmp_path / "pyproject.toml").write_text(table.format("moon"))
    [refused] = [finding for finding in inspect(Lab.open(tmp_path)) if not finding[0]]
    assert "invalid partition" in refused[1]
    monkeypatch.setenv("PATH", "/nowhere")
    [[right, what, todo]] = inspect(lab)
    assert (right, "sbatch" in what, "slurm-client" in todo) == (False, True, True)


def test_slurm_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NightlabError, match="sbatch is not there"):
        Slurm(tmp_path / "jobs").start(spec("none", "true", tmp_path))

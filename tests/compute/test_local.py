"""Jobs on this machine with real processes: started once, found again, ended whole, and never mistaken for another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightlab import processes
from nightlab.compute import open_place
from nightlab.compute.folders import folder_name
from nightlab.compute.local import Local, LocalJob
from nightlab.compute.place import JobSpec
from nightlab.errors import NightlabError, UsageError
from nightlab.lab import Lab


def spec(key: str, script: str, cwd: Path, lease: float | None = None, **env: str) -> JobSpec:
    return JobSpec(key, ("/bin/bash", "-c", script), str(cwd), env, lease)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Local]:
    local = Local(tmp_path / "jobs")
    yield local
    for job in local.jobs():
        job.stop(grace=0.1)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def child_pid(job: LocalJob) -> int:
    return int(json.loads((job.folder / "start.json").read_text())["child"]["pid"])


def alive(pid: int) -> bool:
    return processes.start_time(pid) is not None


def numbers(log: Path, count: int) -> list[int]:
    until(lambda: log.exists() and len(log.read_text().split()) >= count)
    return [int(word) for word in log.read_text().split()]


def test_a_job_runs_detached_with_its_output_in_the_log(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("one", 'echo "$PWD $COLOUR"; echo oops >&2; exit 0', tmp_path, COLOUR="green"))
    assert job.wait(60) == "finished"
    assert job.exit_code() == 0
    assert job.reason() == "exited"
    assert job.log.read_text() == f"{tmp_path} green\noops\n"
    assert job.spec == spec("one", 'echo "$PWD $COLOUR"; echo oops >&2; exit 0', tmp_path, COLOUR="green")
    assert "finished" in repr(job)


def test_a_job_has_its_own_session_and_no_brain_key(
    place: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    job = place.start(spec("session", 'echo "key=$ANTHROPIC_API_KEY"; sleep 60', tmp_path))
    assert job.state() == "running"
    assert (job.exit_code(), job.reason()) == (None, None)
    assert job.pid is not None
    assert os.getsid(job.pid) == os.getsid(child_pid(job)) != os.getsid(0)
    until(lambda: job.log.read_text() == "key=\n")


def test_a_job_can_read_the_settings_of_a_lab(place: Local, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    job = place.start(spec("settings", f"{sys.executable} -m nightlab config", tmp_path))
    assert job.wait(30.0) == "finished", job.log.read_text()


@pytest.mark.parametrize(
    ("script", "state", "code"), [("exit 3", "failed", 3), ("kill -9 $$", "failed", -9), ("true", "finished", 0)]
)
def test_the_exit_file_says_how_it_ended(place: Local, tmp_path: Path, script: str, state: str, code: int) -> None:
    job = place.start(spec(script, script, tmp_path))
    assert (job.wait(60), job.exit_code()) == (state, code)


def test_a_command_that_does_not_exist_fails_and_says_so(place: Local, tmp_path: Path) -> None:
    job = place.start(JobSpec("typo", ("/no/such/program",), str(tmp_path)))
    assert (job.wait(60), job.exit_code()) == ("failed", 127)
    assert "/no/such/program" in job.log.read_text()


def test_the_same_key_is_the_same_job(place: Local, tmp_path: Path) -> None:
    once = spec("count", "echo ran >> count.txt", tmp_path)
    first = place.start(once)
    first.wait(60)
    again = place.start(once)
    assert again.id == first.id
    assert (tmp_path / "count.txt").read_text() == "ran\n"
    with pytest.raises(UsageError, match="another spec"):
        place.start(spec("count", "echo other", tmp_path))
    with pytest.raises(UsageError, match="command"):
        place.start(JobSpec("nothing", (), str(tmp_path)))


def test_many_starters_at_once_start_one_job(place: Local, tmp_path: Path) -> None:
    one = spec("race", "echo ran >> count.txt; sleep 60", tmp_path)
    threads = [threading.Thread(target=place.start, args=(one,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: (tmp_path / "count.txt").exists())
    assert (tmp_path / "count.txt").read_text() == "ran\n"
    assert len(place.jobs()) == 1


def test_two_wrappers_of_one_folder_run_its_command_once(place: Local, tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "twice"
    folder.mkdir(parents=True)
    frozen = {"key": "twice", "argv": ["/bin/bash", "-c", "echo ran; sleep 0.2"], "cwd": str(tmp_path), "env": {}}
    (folder / "spec.json").write_text(json.dumps(frozen | {"lease_seconds": None}))
    argv = [sys.executable, "-P", "-m", "nightlab.job", str(folder / "spec.json")]
    both = [subprocess.Popen(argv) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (folder / "log.txt").read_text() == "ran\n"
    assert LocalJob(folder).state() == "finished"


def test_a_fresh_process_finds_the_job_by_its_key(place: Local, tmp_path: Path) -> None:
    launch = (
        "import sys, time; from pathlib import Path; from nightlab.compute.local import Local\n"
        "from nightlab.compute.place import JobSpec\n"
        "Local(Path(sys.argv[1])).start(JobSpec('k', ('/bin/sleep', '60'), '/', {}, None)); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    night = subprocess.Popen([sys.executable, "-c", launch, str(place.folder)], stdout=subprocess.PIPE, text=True)
    assert night.stdout is not None
    assert night.stdout.readline() == "up\n"
    os.kill(night.pid, signal.SIGKILL)
    night.wait()
    night.stdout.close()
    job = place.find("k")
    assert job is not None
    assert job.state() == "running", "the job outlives a kill -9 of its launcher"
    assert [found.id for found in place.jobs()] == [job.id]
    job.stop(grace=1)
    assert job.state() == "stopped"
    assert place.find("another") is None


def test_stop_ends_the_whole_tree_even_what_changed_its_session(place: Local, tmp_path: Path) -> None:
    job = place.start(
        spec("tree", "echo $$; sleep 60 & echo $!; setsid bash -c 'echo $$; exec sleep 60' & wait", tmp_path)
    )
    pids = numbers(job.log, 3)
    job.stop(grace=2)
    assert job.state() == "stopped"
    assert job.reason() == "stopped"
    assert not any(alive(pid) for pid in pids)


def test_stop_kills_what_ignores_term(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("deaf", "trap '' TERM; echo $$; while true; do sleep 0.1; done", tmp_path))
    (pid,) = numbers(job.log, 1)
    start = time.monotonic()
    job.stop(grace=0.3)
    assert not alive(pid)
    assert (job.state(), job.exit_code()) == ("stopped", -9)
    assert 0.3 <= time.monotonic() - start < 30


def test_what_a_command_leaves_behind_ends_with_it(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("daemon", "setsid sleep 61 & echo $!; exit 0", tmp_path))
    (left,) = numbers(job.log, 1)
    assert job.wait(60) == "finished"
    assert not alive(left)


def test_a_killed_wrapper_is_lost_and_takes_the_command_with_it(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("wrapper", "trap '' TERM; echo $$; setsid sleep 62 & echo $!; wait; sleep 60", tmp_path))
    pids = numbers(job.log, 2)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait(60) == "lost"
    assert job.exit_code() is None
    job.stop()
    assert not any(alive(pid) for pid in pids), "stop ends the orphans of a lost job"
    assert job.state() == "lost"
    assert place.start(job.spec).state() == "lost", "a lost job is not run again under its key"


def test_a_killed_command_is_a_failed_job(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("child", "sleep 60", tmp_path))
    os.kill(child_pid(job), signal.SIGKILL)
    assert job.wait(60) == "failed"
    assert job.exit_code() == -9


def test_a_pid_that_is_used_again_is_another_process(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("reuse", "sleep 60", tmp_path))
    start = json.loads((job.folder / "start.json").read_text())
    job.stop(grace=1)
    (job.folder / "exit.json").unlink()
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        (job.folder / "start.json").write_text(json.dumps(start | {"pid": bystander.pid}))
        assert job.state() == "lost"
        assert job.pid is None
        job.stop()
        assert bystander.poll() is None, "a stranger with our pid is left alone"
        same = {"pid": bystander.pid, "start_time": processes.start_time(bystander.pid)}
        (job.folder / "start.json").write_text(json.dumps(start | same | {"boot_id": "another-boot"}))
        assert job.state() == "lost"
        bystander.kill()


def test_the_lease_ends_a_job_whose_owner_is_gone(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("lease", "echo $$; sleep 60", tmp_path, lease=1.5))
    (pid,) = numbers(job.log, 1)
    start = time.monotonic()
    while time.monotonic() - start < 2.0:
        job.renew()
        time.sleep(0.1)
    assert job.state() == "running", "a renewed lease holds"
    start = time.monotonic()
    assert job.wait(60) == "stopped"
    assert time.monotonic() - start < 10
    assert job.reason() == "lease"
    assert not alive(pid)


def test_a_lease_that_is_removed_has_run_out(place: Local, tmp_path: Path) -> None:
    job = place.start(spec("gone", "sleep 60", tmp_path, lease=0.4))
    (job.folder / "lease").unlink()
    assert job.wait(60) == "stopped"
    assert job.reason() == "lease"


def test_jobs_that_a_job_started_are_not_its_own(place: Local, tmp_path: Path) -> None:
    inner = (
        f"import time; from pathlib import Path; from nightlab.compute.local import Local\n"
        f"from nightlab.compute.place import JobSpec\n"
        f"Local(Path({str(place.folder)!r})).start(JobSpec('inner', ('/bin/sleep', '60'), '/', {{}}, None))\n"
        f"print('up', flush=True); time.sleep(60)"
    )
    outer = place.start(JobSpec("outer", (sys.executable, "-c", inner), str(tmp_path)))
    until(lambda: outer.log.read_text() == "up\n" if outer.log.exists() else False)
    outer.stop(grace=1)
    job = place.find("inner")
    assert job is not None
    assert (outer.state(), job.state()) == ("stopped", "running")


def test_a_job_that_cannot_be_started_is_an_error_with_the_reason(place: Local, tmp_path: Path) -> None:
    one = spec("broken", "true", tmp_path)
    folder = place.folder / folder_name("broken")
    (folder / "log.txt").mkdir(parents=True)
    with pytest.raises(NightlabError, match="did not start"):
        place.start(one)


def test_an_unstarted_spec_is_lost_until_it_is_started(place: Local, tmp_path: Path) -> None:
    one = spec("half", "true", tmp_path)
    folder = place.folder / folder_name("half")
    folder.mkdir(parents=True)
    LocalJob(folder).freeze(one)
    job = place.find("half")
    assert job is not None
    assert job.state() == "lost"
    assert place.start(one).wait(60) == "finished", "a starter that died between spec and start is made good"


def test_names_of_folders_are_safe_and_tell_keys_apart() -> None:
    assert folder_name("a/b") != folder_name("a b")
    assert "/" not in folder_name("../../etc/passwd")
    assert len(folder_name("x" * 500)) < 80


async def test_a_place_gives_ports_and_ways(place: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = place.free_port()
    job = place.start(spec("address", "true", tmp_path))

    async def anybody(url: str) -> bool:
        return True

    assert (await place.reach(job, port, anybody)).url == f"http://127.0.0.1:{port}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert (place.gpus({}), place.gpus({}, 1), place.gpus({}, 4)) == (2, 1, 2), "those that the command can use"


@pytest.mark.parametrize(
    ("says", "cards"),
    [
        (
            "echo 'GPU 0: A (UUID: x)'; echo '  MIG 1g.10gb Device 0: (UUID: y)'; echo 'GPU 1: A (UUID: z)'",
            2,
        ),
        ("echo 'NVIDIA-SMI has failed'; exit 9", 0),
        (None, 0),
    ],
)
def test_gpus_are_the_cards_of_the_machine_where_nothing_hides_them(
    tmp_path: Path, says: str | None, cards: int
) -> None:
    if says is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    code = "from pathlib import Path; from nightlab.compute.local import Local; print(Local(Path()).gpus({}))"
    argv, hidden = [sys.executable, "-P", "-c", code], {**shown, "CUDA_VISIBLE_DEVICES": ""}
    seen = [
        subprocess.run(argv, env={**env, "PATH": str(tmp_path)}, capture_output=True, text=True, check=True).stdout
        for env in (shown, hidden)
    ]
    assert seen == [f"{cards}\n", "0\n"]


def test_the_place_of_a_lab_is_its_setting(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    lab = Lab.open(tmp_path)
    place = open_place(lab)
    assert isinstance(place, Local)
    assert place.folder == lab.jobs
    with pytest.raises(UsageError, match="mars"):
        open_place(lab, "mars")


def test_the_wrapper_is_light() -> None:
    listing = (
        "import sys, nightlab.job; print(sorted(m for m in sys.modules if m.startswith('nightlab')), len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", listing], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['nightlab', 'nightlab.job', 'nightlab.job_folder', 'nightlab.processes']")
    best = min(_user_seconds() for _ in range(3))
    assert best < 0.06 + _user_seconds("pass")


def _user_seconds(code: str = "import nightlab.job") -> float:
    before = os.times().children_user
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return os.times().children_user - before


@pytest.mark.slow
def test_a_launcher_killed_at_any_moment_never_starts_a_job_twice(place: Local, tmp_path: Path) -> None:
    launch = (
        "import sys; from pathlib import Path; from nightlab.compute.local import Local\n"
        "from nightlab.compute.place import JobSpec\n"
        "spec = JobSpec(sys.argv[2], ('/bin/bash', '-c', sys.argv[3]), '/', {}, None)\n"
        "print('go', flush=True); Local(Path(sys.argv[1])).start(spec)"
    )
    for i in range(8):
        script = f"echo ran >> {tmp_path}/count-{i}; sleep 60"
        argv = [sys.executable, "-c", launch, str(place.folder), f"k{i}", script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as night:
            assert night.stdout is not None
            night.stdout.readline()
            time.sleep(0.015 * i)
            night.kill()
        job = place.start(JobSpec(f"k{i}", ("/bin/bash", "-c", script), "/"))
        until((tmp_path / f"count-{i}").exists)
        assert job.state() == "running"
        job.stop(grace=0.2)
        assert (tmp_path / f"count-{i}").read_text() == "ran\n"
        assert job.state() == "stopped"

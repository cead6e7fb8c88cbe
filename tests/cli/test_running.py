"""Runs and servers from the command line, with real processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from nightlab.compute import open_place
from nightlab.compute.local import Local
from nightlab.compute.place import JobSpec
from nightlab.lab import Lab
from nightlab.night.lock import LabLock
from nightlab.practice import model_dir
from nightlab.record.state import ResearchState
from nightlab.servers.server import Server, Wanted

Call = Callable[..., Result]
SILENT = (sys.executable, "-c", "import time; time.sleep(600)", "{port}")


def server(lab: Lab, name: str) -> Server:
    """A process that is started as a model server and never answers."""
    wanted = Wanted(name, f"test/{name}", model_dir("llama"), argv=SILENT)
    return asyncio.run(Server.launch(lab, open_place(lab), wanted, key=name, night="by-hand"))


@pytest.mark.real
@pytest.mark.slow
def test_night_with_an_empty_queue_finishes(lab: Lab) -> None:
    command = [sys.executable, "-m", "nightlab", "run", "--hours", "0.1"]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "night started" in lines[0]
    assert any("night ended" in line for line in lines)
    assert "Needs you: nothing" in lines
    assert "\x1b" not in done.stdout
    assert lab.brief.is_file()


@pytest.mark.real
@pytest.mark.slow
def test_night_that_asks_something_exits_3(lab: Lab) -> None:
    ResearchState(lab.state_file).add_queue("exp_001_gone", "an experiment that was never written")
    command = [sys.executable, "-m", "nightlab", "run", "--hours", "0.1"]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 3, done.stdout + done.stderr
    assert "exp_001_gone cannot run" in done.stdout


def test_second_night_is_refused(call: Call, lab: Lab) -> None:
    lock = LabLock(lab.lock)
    lock.acquire("another")
    try:
        result = call("run")
    finally:
        lock.release()
    assert result.exit_code == 1
    assert "another" in result.output


def test_servers_are_listed_and_stopped_one_by_one(call: Call, lab: Lab) -> None:
    one, two = server(lab, "one"), server(lab, "two")
    rows = json.loads(call("servers", "--json").output)
    assert [(row["id"], row["alive"]) for row in rows] == [(s.manifest.id, True) for s in (one, two)]
    assert f"{one.manifest.id}  starting" in call("servers").output
    assert {"place", "job", "model", "adapters", "age_seconds", "idle_seconds", "gpu_hours", "night"} <= set(rows[0])
    assert json.loads(call("status", "--json").output)["servers"] == 2
    (lab.servers / "broken-1.json").write_text("{")
    assert "left out, a damaged manifest" in call("servers").stderr
    (lab.servers / "broken-1.json").unlink()
    assert call("servers", "stop", one.manifest.id).output == f"stopped {one.manifest.id}\n"
    assert not one.alive()
    assert two.alive()
    near = call("servers", "stop", two.manifest.id[:-1] + "x")
    assert near.exit_code == 2
    assert f"did you mean {two.manifest.id}?" in near.output
    assert call("servers", "stop", "--all").output == f"stopped {two.manifest.id}\n"
    assert not two.alive()
    assert call("servers").output == "No server is running.\n"
    assert f"{one.manifest.id}  stopped" in call("servers", "list", "--all").output


def test_jobs_that_are_no_servers_are_listed_with_their_owner_and_lease(
    call: Call, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    place = Local(lab.jobs)
    assert call("servers", "--jobs").output == "No other job is running.\n"
    job = place.start(JobSpec("train/sour/1", ("sleep", "60"), str(lab.root), lease_seconds=120, gpus=1, owner="n7"))
    place.start(JobSpec("over", ("true",), str(lab.root))).wait(20)
    running = server(lab, "one")
    [row] = json.loads(call("servers", "--jobs", "--json").output)
    told = {"place": "local", "job": job.id, "key": "train/sour/1", "command": "sleep 60", "process": "running"}
    assert row.items() >= (told | {"owner": "n7", "gpus": 1}).items()
    assert 0 <= row["age_seconds"] < 60 < row["lease_seconds"] <= 120
    assert "night n7, lease" in call("servers", "--jobs").output
    assert "Jobs that run and are no servers: 1" in call("servers").output
    again = place.start(JobSpec("train/sour/1", ("sleep", "60"), str(lab.root), lease_seconds=120, owner="n8"))
    assert (again.id, again.spec.owner) == (job.id, "n7"), "another night takes it up, and starts no other"
    unknown = call("servers", "stop", "train/sour/2")
    assert (unknown.exit_code, "did you mean train/sour/1?" in unknown.output) == (2, True)
    assert call("servers", "stop", "train/sour/1").output == "stopped train/sour/1\n"
    assert (job.state(), job.reason()) == ("stopped", "stopped")
    assert call("servers", "stop", job.id).exit_code == 2, "it is over"
    other = place.start(JobSpec("runs/1", ("sleep", "60"), str(lab.root), owner="n7"))
    assert [row["gpus"] for row in json.loads(call("servers", "--jobs", "--json").output)] == [2], "all that it sees"
    with LabLock(lab.lock).hold("n7"):
        assert "The night n7 goes on and may start it again" in call("servers", "stop", other.id).output
    assert other.state() == "stopped"
    assert json.loads(call("servers", "--jobs", "--json").output) == []
    assert running.alive()
    assert running.job is not None
    running.job.stop(grace=0.1)


def test_server_whose_process_is_gone_is_told(call: Call, lab: Lab) -> None:
    gone = server(lab, "one")
    assert gone.job is not None
    gone.job.stop()
    assert "but its process is gone" in call("servers").output
    assert json.loads(call("status", "--json").output)["servers"] == 0


def test_what_is_planted_can_be_read(call: Call) -> None:
    told = json.loads(call("practice", "truth", "--json").output)
    assert "llama" in json.dumps(told)
    assert "llama" in call("practice", "truth").output


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_serve_refuses_a_port_that_is_none(call: Call, port: str) -> None:
    assert call("serve", "practice:llama", "--port", port).exit_code == 2


def test_serve_listens_on_this_machine_only(call: Call) -> None:
    result = call("serve", "practice:llama", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "loopback only" in result.output

"""A whole night whose servers are Slurm jobs: its controller away, killed, robbed of its server and its node."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nightlab.compute.place import Job
from nightlab.compute.slurm_site import of_lab
from nightlab.events import EventLog
from nightlab.founding.demo_lab import Demo, demo
from nightlab.lab import Lab
from nightlab.servers.server import list_servers
from tests.night.supervised import end_of_night, kill_night, start_night
from tests.night.test_practice_night import nothing_runs
from tests.slurm import Cluster

pytestmark = [pytest.mark.real, pytest.mark.slow(55)]

RECOGNISED = 30.0  # seconds within which a trouble must be seen
TABLE = 'place = "slurm"\nslurm-gres = "gpu:1"\nslurm-time = "30"\nlease-seconds = 60\n'


def small_demo(root: Path) -> Demo:
    """The demo with one model, on Slurm, without its staged port."""
    made = demo(root, seed=7)
    config = made.lab.experiment(made.experiment) / "config.yaml"
    data = yaml.safe_load(config.read_text())
    data["factors"]["models"] = [model for model in data["factors"]["models"] if model["name"] == "llama"]
    data["hypotheses"] = [h for h in data["hypotheses"] if h["id"] in ("H1", "H4")]
    data["multiplicity"] = {"sequence": ["H4", "H1"]}
    data["serving"] = {"resources": {"flags": "--cpus-per-task=1 --mem=900M"}}
    config.write_text(yaml.safe_dump(data))
    pyproject = root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + TABLE)
    return Demo(Lab.open(root), made.experiment, made.port, made.seed)


def wait(met: Callable[[], object], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def events(lab: Lab) -> list[str]:
    names = lab.night_names()
    return [row["kind"] for row in EventLog(lab.night(names[-1])).read()] if names else []


def lose_power(cluster: Cluster, job: Job) -> None:
    """The node of a job goes down with everything that runs on it, Slurm's own process around the job first."""
    node = cluster.slurm("squeue", "-h", "-j", job.id, "-o", "%N")
    cluster.do("kill-node", node)
    start = json.loads((job.folder / "start.json").read_text())
    step = int(Path(f"/proc/{start['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (step, start["pid"], start["child"]["pid"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def recognised(lab: Lab, *kinds: str, **fields: str) -> None:
    """An event comes within the bound."""

    def came() -> bool:
        rows = EventLog(lab.night(lab.latest_night() or "")).read() if lab.night_names() else []
        return any(row["kind"] in kinds and fields.items() <= row.items() for row in rows)

    wait(came, RECOGNISED)


def running_job(lab: Lab) -> Job:
    """The job of the one server that lives."""
    [manifest] = [server for server in list_servers(lab) if server.lives]
    job = of_lab(lab).find(manifest.job)
    assert job is not None
    return job


def test_a_night_on_slurm_outlives_controller_process_server_and_node(cluster: Cluster, tmp_path: Path) -> None:
    made = small_demo(tmp_path / "lab")
    lab, folder = made.lab, made.lab.experiments / made.experiment
    cluster.do("stop-controller")
    night = start_night(lab)
    wait(lambda: "server_starting" in events(lab) or night.poll() is not None)
    recognised(lab, "place_away", place="slurm")
    cluster.do("start-controller")
    recognised(lab, "place_back", place="slurm")
    wait(lambda: "sweep_started" in events(lab) or night.poll() is not None)
    kill_night(lab, night)
    job = running_job(lab)
    assert job.state() == "running", "the server outlives the night that was killed"
    shown = cluster.slurm("squeue", "-h", "-j", job.id, "-o", "%j|%b")
    assert shown.startswith("llama-")
    assert shown.endswith("gpu:1")
    cluster.slurm("scancel", job.id)  # from outside, while nobody looks
    night = start_night(lab)
    wait(lambda: events(lab).count("sweep_started") == 2 or night.poll() is not None)
    lose_power(cluster, running_job(lab))
    try:
        recognised(lab, "server_failed", "server_healing", failure="node_failed")  # whoever looks first
        end_of_night(lab, night)
    finally:
        for node in ("n1", "n2"):
            if "down" in cluster.slurm("sinfo", "-h", "-n", node, "-o", "%T"):
                cluster.do("start-node", node)
    rows = list(EventLog(lab.night(lab.latest_night() or "")).read())
    lost = [row["failure"] for row in rows if row["kind"] == "server_failed"]
    assert lost in (["job_cancelled"], ["job_cancelled", "node_failed"])
    keys = [json.loads(line)["key"] for line in (folder / "samples.jsonl").read_text().splitlines()]
    judged = [json.loads(line)["key"] for line in (folder / "judgments.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == len(set(judged)) == 63
    claims = yaml.safe_load((folder / "claims.yaml").read_text())["claims"]
    assert {claim["hypothesis"]: claim["verdict"] for claim in claims}["H1"] == "supported"
    assert "the server of llama was lost and started again" in (folder / "report.md").read_text()
    assert nothing_runs(lab)
    assert all(server.place == "slurm" and server.gpus == 1 for server in list_servers(lab))
    assert cluster.slurm("squeue", "-h") == ""

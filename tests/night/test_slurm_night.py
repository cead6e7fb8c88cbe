"""A whole night whose servers are Slurm jobs: killed and robbed of its server, gone on with, reported."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nightlab.compute.slurm_site import of_lab
from nightlab.events import EventLog
from nightlab.founding.demo_lab import Demo, demo
from nightlab.lab import Lab
from nightlab.servers.server import list_servers
from tests.night.supervised import end_of_night, kill_night, start_night
from tests.night.test_practice_night import nothing_runs
from tests.slurm import Cluster

pytestmark = [pytest.mark.real, pytest.mark.slow(30)]

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


def test_a_night_on_slurm_loses_its_process_and_its_server_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    made = small_demo(tmp_path / "lab")
    lab, folder = made.lab, made.lab.experiments / made.experiment
    night = start_night(lab)
    wait(lambda: "sweep_started" in events(lab) or night.poll() is not None)
    kill_night(lab, night)
    [manifest] = list_servers(lab)
    job = of_lab(lab).find(manifest.job)
    assert job is not None
    assert job.state() == "running", "the server outlives the night that was killed"
    shown = cluster.slurm("squeue", "-h", "-j", job.id, "-o", "%j|%b")
    assert shown.startswith("llama-")
    assert shown.endswith("gpu:1")
    cluster.slurm("scancel", job.id)  # from outside, while nobody looks
    end_of_night(lab)
    [lost] = [row for row in EventLog(lab.night(lab.latest_night() or "")).read() if row["kind"] == "server_failed"]
    assert (lost["server"], lost["failure"]) == (manifest.id, "job_cancelled")
    keys = [json.loads(line)["key"] for line in (folder / "samples.jsonl").read_text().splitlines()]
    judged = [json.loads(line)["key"] for line in (folder / "judgments.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == len(set(judged)) == 63
    claims = yaml.safe_load((folder / "claims.yaml").read_text())["claims"]
    assert {claim["hypothesis"]: claim["verdict"] for claim in claims}["H1"] == "supported"
    assert (folder / "report.md").exists()
    assert nothing_runs(lab)
    assert all(server.place == "slurm" and server.gpus == 1 for server in list_servers(lab))
    assert cluster.slurm("squeue", "-h") == ""

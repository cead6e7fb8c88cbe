"""Both places, for the tests that hold for each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightlab import processes
from nightlab.compute.local import Local
from nightlab.compute.place import JobSpec
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_queue import SlurmQueue
from nightlab.errors import NightlabError
from tests import slurm


@pytest.fixture
def queue(cluster: slurm.Cluster, tmp_path: Path) -> Iterator[Slurm]:
    """Slurm as a place; its jobs are ended at the end."""
    place = Slurm(tmp_path / "jobs", queue=SlurmQueue(patience=2.5))
    yield place
    stop_all(place)


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.real)])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Local | Slurm]:
    """Each place in turn; its jobs are ended at the end."""
    if request.param == "slurm":
        yield request.getfixturevalue("queue")
        return
    place = Local(tmp_path / "jobs")
    yield place
    stop_all(place)


def stop_all(place: Local | Slurm) -> None:
    """End every job of a place."""
    for job in place.jobs():
        with contextlib.suppress(NightlabError):
            job.stop(grace=0.1)


def spec(key: str, script: str, cwd: Path, lease: float | None = None, **more: object) -> JobSpec:
    """A job that runs a line of bash."""
    return JobSpec(key, ("/bin/bash", "-c", script), str(cwd), lease_seconds=lease, **more)  # type: ignore[arg-type]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process lives."""
    return processes.start_time(pid) is not None

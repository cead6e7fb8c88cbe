"""A training as a Slurm job: it waits for a controller that is away, and goes on where it stood when it is requeued."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_queue import SlurmQueue
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.training.jobs import begin, follow, steps_taken
from tests.compute.conftest import until
from tests.slurm import Cluster
from tests.training.conftest import quick

pytestmark = [pytest.mark.real, pytest.mark.slow(40)]


async def test_a_training_waits_for_the_controller_and_goes_on_after_its_job_was_requeued(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.nightlab]\nplace = "slurm"\nlease-seconds = 60\n')
    lab = Lab.open(tmp_path)
    place, events = Slurm(lab.jobs, queue=SlurmQueue(patience=1.0)), EventLog(lab.night("n1"))
    folder = begin(lab, "sour", quick(data, steps=16))
    cluster.do("stop-controller")
    training = asyncio.create_task(follow(lab, place, "sour", events, {"gres": "gpu:1"}, night="n1"))
    await asyncio.to_thread(until, lambda: training.done() or events.last("place_away"), 30)
    await asyncio.to_thread(cluster.do, "start-controller")
    while steps_taken(folder) < 2:
        assert not training.done(), training.result()
        await asyncio.sleep(0.1)
    [job] = place.jobs()
    assert [row["kind"] for row in events.read()] == ["place_away", "place_back", "training_started"]
    started = events.last("training_started")
    assert started is not None
    assert (started["attempt"], started["job"], job.spec.owner) == (1, job.id, "n1"), (
        "what was never taken is no attempt"
    )
    assert cluster.slurm("squeue", "-h", "-j", job.id, "-o", "%j|%b").startswith("train-sour-1-")
    cluster.slurm("scontrol", "requeue", job.id)
    shown = ("squeue", "-h", "-t", "all", "-j", job.id, "-o", "%T")
    await asyncio.to_thread(until, lambda: cluster.slurm(*shown) == "PENDING", 30)
    cluster.slurm("scontrol", "update", f"jobid={job.id}", "StartTime=now")
    done = await asyncio.wait_for(training, 120)
    assert done["adapter"] == "adapters/sour"
    assert (lab.root / "adapters" / "sour" / "adapter_model.safetensors").exists()
    assert [one.id for one in place.jobs()] == [job.id], "one job, run again by Slurm, not by us"
    assert (job.state(), job.exit_code()) == ("finished", 0)
    assert len(list(job.folder.glob("start.json.before-*"))) == 1

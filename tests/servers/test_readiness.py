"""How a start stands and how it ended, asked of real processes: its stage by its log, and whether it is gone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute.local import Local, LocalJob
from nightlab.errors import ServerError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers import readiness
from nightlab.servers.manifest import load
from nightlab.servers.server import Server, Wanted

Double = Callable[..., Wanted]


async def launch(lab: Lab, place: Local, wanted: Wanted, key: str = "k1") -> Server:
    return await Server.launch(lab, place, wanted, key=key, night="n1")


def the_job(server: Server) -> LocalJob:
    job = server.job
    assert isinstance(job, LocalJob)
    return job


async def test_a_start_that_hangs_says_at_which_stage(lab: Lab, events: EventLog) -> None:
    (lab.root / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 1\n")
    short = Lab.open(lab.root)
    said = "echo non-default args: x; echo Resolved architecture: Llama; echo Starting to load model; sleep 60"
    hanging = Wanted("m", "m", Path("m"), engine="vllm", argv=("/bin/bash", "-c", said))
    server = await launch(short, Local(short.jobs), hanging)
    with pytest.raises(ServerError, match="came as far as: loading the weights"):
        await server.ensure_ready(events)
    assert "loading the weights" in (load(short, server.manifest.id).error or "")
    log = server.lab.root / str(server.manifest.log)
    done = CliRunner().invoke(cli, ["diagnose", "--json", str(log)])
    assert (done.exit_code, json.loads(done.output)["reached"]) == (0, "loading the weights")
    assert "came as far as: loading the weights" in CliRunner().invoke(cli, ["diagnose", str(log)]).output


async def test_a_server_that_ends_while_it_is_looked_at_is_the_reason(lab: Lab, place: Local, double: Double) -> None:
    """What fails every proof because its process is just ending is named by its end; a living one is not accused."""
    living = await launch(lab, place, double({}, "--lead", "30"))
    await readiness.check_died(readiness.Starting(living.manifest, the_job(living)))
    script = "sleep 0.2; echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB'; exit 1"
    dying = await launch(lab, place, Wanted("m", "m", Path("m"), argv=("/bin/bash", "-c", script)), key="k2")
    with pytest.raises(ServerError) as caught:
        await readiness.check_died(readiness.Starting(dying.manifest, the_job(dying)), 60)
    assert caught.value.failure == "cuda_oom"


async def test_a_server_is_known_to_be_gone_by_its_record_or_its_job(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}))
    assert server.gone() is None, "it may come"
    await server.ensure_ready(events)
    assert server.gone() is None
    os.kill(json.loads((the_job(server).folder / "start.json").read_text())["child"]["pid"], signal.SIGKILL)
    the_job(server).wait(60)
    assert server.gone() == "the server's job is over (failed)"
    server.note(state="starting")
    assert server.gone() is None, "it is being started again"
    with pytest.raises(ServerError):
        await server.ensure_ready(events)
    assert Server.attach(lab, place, server.manifest.id).gone() == "the server is recorded as failed (unknown)"

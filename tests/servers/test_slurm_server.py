"""Servers as jobs of a real Slurm: proven on a node, named when they end, found by a fresh process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nightlab.adapters.compile import Compiled
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_job import SlurmJob
from nightlab.compute.slurm_queue import TIMEOUT
from nightlab.errors import ServerError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.looking_after import look_after
from nightlab.servers import readiness
from nightlab.servers.chat import Chat
from nightlab.servers.failures import catalogue
from nightlab.servers.manifest import load
from nightlab.servers.server import Server, Wanted
from tests.slurm import Cluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

Double = Callable[..., Wanted]


async def launch(lab: Lab, place: Slurm, wanted: Wanted, key: str = "k1") -> Server:
    return await Server.launch(lab, place, wanted, key=key, night="n1")


def number(server: Server) -> str:
    assert isinstance(server.job, SlurmJob)
    return server.job.id


async def test_a_server_waits_for_its_turn_and_is_proven_on_its_node(
    cluster: Cluster, lab: Lab, queue: Slurm, events: EventLog, conditions: dict[str, Compiled], double: Double
) -> None:
    blocker = cluster.slurm("sbatch", "--parsable", "--exclusive", "-N2", "-o", "/dev/null", "--wrap", "sleep 60")
    server = await launch(lab, queue, double(conditions))
    proving = asyncio.create_task(server.ensure_ready(events))
    while not events.last("server_queued"):
        await asyncio.sleep(0.1)
        assert not proving.done()
    cluster.slurm("scancel", blocker)
    manifest = await proving
    assert cluster.slurm("squeue", "-h", "-j", number(server), "-o", "%j").startswith("llama-")
    assert (manifest.place, manifest.port, manifest.state) == ("slurm", 0, "ready")
    again = Server.attach(lab, queue, manifest.id)
    assert (await again.route()).url == manifest.url
    assert (await again.ensure_ready(events)).ready == manifest.ready
    assert manifest.url is not None
    await server.stop(events)
    assert not server.alive()
    async with Chat(manifest.url) as chat:
        with pytest.raises(Exception, match="connection failed"):
            await chat.models()


async def test_a_night_looks_after_its_servers(
    cluster: Cluster, lab: Lab, queue: Slurm, events: EventLog, double: Double
) -> None:
    kept, lost = [await launch(lab, queue, double({}), key=key) for key in ("kept", "lost")]
    await asyncio.gather(kept.ensure_ready(events), lost.ensure_ready(events))
    queue.queue.patience = 2
    looking = asyncio.create_task(look_after(lab, "n1", events, look=0.5))

    async def comes(kind: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while not (row := events.last(kind)):  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.1)
        return row

    cluster.slurm("scancel", number(lost))
    said = await comes("server_failed")
    assert (said["server"], said["failure"]) == (lost.manifest.id, "job_cancelled")
    with pytest.raises(ServerError, match="cancelled"):
        await Server.attach(lab, queue, lost.manifest.id).ensure_ready(events)
    assert set(readiness.ENDS.values()) <= set(catalogue()), "every end has its remedy"
    await asyncio.to_thread(cluster.do, "stop-controller")
    assert (await comes("place_away"))["place"] == "slurm"
    await asyncio.to_thread(cluster.do, "start-controller")
    await comes("place_back")
    assert (load(lab, kept.manifest.id).state, kept.alive()) == ("ready", True)
    looking.cancel()
    queue.queue.patience = TIMEOUT

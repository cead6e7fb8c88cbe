"""The life of a server with real processes: started, proven, adopted, stopped; nothing left running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.compute.local import Local, LocalJob
from nightlab.errors import ServerError, StorageError, UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.manifest import damaged, load, manifest_path
from nightlab.servers.server import Server, Wanted, list_servers, stop_all
from nightlab.servers.wanted import new_manifest

Conditions = dict[str, Compiled]
Double = Callable[..., Wanted]


async def launch(lab: Lab, place: Local, wanted: Wanted, key: str = "k1", port: int = 0) -> Server:
    return await Server.launch(lab, place, wanted, key=key, night="n1", port=port)


def kinds(events: EventLog) -> list[str]:
    return [row["kind"] for row in events.read()]


def the_job(server: Server) -> LocalJob:
    job = server.job
    assert isinstance(job, LocalJob)
    return job


async def test_a_server_is_started_proven_and_stopped(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions))
    assert load(lab, server.manifest.id).state == "starting"
    manifest = await server.ensure_ready(events)
    assert manifest == load(lab, manifest.id)
    assert manifest.state == "ready"
    assert manifest.canary is not None
    assert manifest.canary["passed"]
    assert manifest.versions["server"] == "double"
    assert set(manifest.conditions) == {"base", "early", "late", "full"}
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        names = [card.id for card in await chat.models()]
        assert names[0] == manifest.served_name
        assert set(names[1:]) == set(manifest.adapters)
        for name in manifest.conditions.values():
            assert (await chat.complete(ChatRequest(name, (Message("user", "hi"),)))).model == name
    assert server.alive()
    await server.stop(events)
    assert not server.alive()
    assert load(lab, manifest.id).state == "stopped"
    assert kinds(events) == ["server_starting", "canary", "server_ready", "server_stopped"]
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "stopped"


async def test_the_same_key_is_the_same_server_and_a_fresh_process_adopts_it(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions))
    first = await server.ensure_ready(events)
    again = await launch(lab, place, double(conditions))
    assert again.manifest.served_name == first.served_name
    adopted = Server.attach(lab, Local(lab.jobs), first.id)
    second = await adopted.ensure_ready(EventLog(lab.night("n1")))
    assert second.ready == first.ready
    assert second.canary is not None
    assert first.canary is not None
    assert second.canary["t"] >= first.canary["t"], "the canary is sung again"
    assert len(place.jobs()) == 1
    assert kinds(events).count("server_ready") == 1
    adopted.renew()
    other = await launch(lab, place, double({}), key="k2")
    assert other.manifest.id != first.id


async def test_a_launch_that_was_cut_off_before_the_job_is_made_good(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}))
    the_job(server).stop()
    for path in the_job(server).folder.iterdir():
        path.unlink()
    assert (await launch(lab, place, double({}))).manifest.served_name == server.manifest.served_name
    assert (await Server.attach(lab, place, server.manifest.id).ensure_ready(events)).state == "ready"


async def test_adapters_that_a_server_lost_are_loaded_again(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions))
    manifest = await server.ensure_ready(events)
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        await chat.unload_adapter(manifest.conditions["early"])
        await server.ensure_ready(events)
        assert manifest.conditions["early"] in [card.id for card in await chat.models()]


async def test_a_source_that_moved_since_it_was_compiled_is_found(
    lab: Lab, place: Local, double: Double, conditions: Conditions, adapter: Path
) -> None:
    moved = adapter.rename(adapter.with_name("moved"))
    again = {name: compile_adapter(moved, one.weights, lab.adapters_cache) for name, one in conditions.items()}
    assert {name: one.path for name, one in again.items()} == {name: one.path for name, one in conditions.items()}
    manifest = new_manifest(lab, place, double(again), key="a", night="n", port=0)
    assert {proof.source for proof in manifest.proofs} == {"moved"}


async def test_stop_all_leaves_nothing_running(lab: Lab, place: Local, events: EventLog, double: Double) -> None:
    ready = await launch(lab, place, double({}), key="a")
    await ready.ensure_ready(events)
    starting = await launch(lab, place, double({}, "--lead", "30"), key="b")
    assert sorted(await stop_all(lab, events)) == sorted([ready.manifest.id, starting.manifest.id])
    assert [m.state for m in list_servers(lab)] == ["stopped", "stopped"]
    assert not any(job.state() == "running" for job in place.jobs())
    assert await stop_all(lab) == []


async def test_a_server_that_is_stopped_while_it_is_being_proven_stays_stopped(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}, "--lead", "30"))
    proving = asyncio.create_task(server.ensure_ready(events))
    await asyncio.sleep(0.3)
    await Server.attach(lab, place, server.manifest.id).stop(events)
    with pytest.raises(ServerError) as caught:
        await proving
    assert caught.value.failure == "stopped"
    assert load(lab, server.manifest.id).state == "stopped"
    assert "server_failed" not in kinds(events)


def test_an_unknown_or_damaged_manifest_is_named(lab: Lab) -> None:
    lab.servers.mkdir(parents=True)
    manifest_path(lab, "llama-1234").write_text("{}")
    with pytest.raises(UsageError, match="llama-1235") as caught:
        load(lab, "llama-1235")
    assert "llama-1234" in (caught.value.hint or "")
    with pytest.raises(StorageError, match="damaged"):
        load(lab, "llama-1234")
    assert list_servers(lab) == []
    assert [str(error.where) for error in damaged(lab)] == [str(manifest_path(lab, "llama-1234"))]

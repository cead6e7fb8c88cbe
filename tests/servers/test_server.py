"""The life of a server with real processes: started, proven, adopted, refused, stopped; nothing left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.adapters.compile import Compiled
from nightlab.compute.local import Local, LocalJob
from nightlab.errors import CanaryFailed, ServerError, StorageError, UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.manifest import load, manifest_path
from nightlab.servers.server import Server, Wanted, list_servers, stop_all
from nightlab.testing import FaultyServer

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


async def test_base_is_an_adapter_of_zeros_where_plain_requests_are_not_safe(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions, "--leaky", "--delay", "0.2"))
    manifest = await server.ensure_ready(events)
    null = manifest.conditions["base"]
    assert manifest.adapters[null].condition == "(zero)"
    assert manifest.canary is not None
    (isolation,) = [c for c in manifest.canary["checks"] if c["name"] == "plain_beside_adapters"]
    assert isolation["evidence"]["isolated"] is False, "the canary saw that plain requests get a neighbour's adapter"


async def test_a_plain_base_that_is_contaminated_fails_the_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    wanted = double(conditions, "--leaky", "--delay", "0.2", engine="embedded")
    server = await launch(lab, place, wanted)
    assert server.manifest.conditions["base"] == server.manifest.served_name
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "base_contaminated"
    assert not server.alive(), "a server that is not proven does not go on running"


async def test_an_adapter_without_effect_is_a_missing_treatment(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions, "--inert"))
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "treatment_missing"
    assert caught.value.hint is not None
    assert "claim" in caught.value.hint
    manifest = load(lab, server.manifest.id)
    assert (manifest.state, manifest.failure) == ("failed", "treatment_missing")
    assert manifest.canary is not None
    assert manifest.canary["checks"][2]["evidence"]["mean_abs_dlogprob"] == 0
    assert kinds(events) == ["server_starting", "canary", "server_failed"]
    with pytest.raises(CanaryFailed) as again:
        await Server.attach(lab, place, manifest.id).ensure_ready(events)
    assert (again.value.failure, again.value.hint) == ("treatment_missing", caught.value.hint)


async def test_a_taken_port_fails_with_the_name_of_the_stranger(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    async with FaultyServer("stranger") as foreign:
        server = await launch(lab, place, double({}), port=foreign.port)
        with pytest.raises(ServerError, match="stranger") as caught:
            await server.ensure_ready(events)
        assert caught.value.failure == "port_in_use"
        assert "port 0" in (caught.value.hint or "")
        assert not foreign.answered(), "nothing was asked of the stranger"
        manifest = load(lab, server.manifest.id)
        assert (manifest.state, manifest.failure, manifest.attempt) == ("failed", "port_in_use", 0)
        fresh = await launch(lab, place, double({}), key="k2")
        assert (await fresh.ensure_ready(events)).state == "ready"


class Crowded(Local):
    """A place whose free ports are mostly taken by somebody else in between."""

    def __init__(self, folder: Path, taken: int, times: int) -> None:
        super().__init__(folder)
        self.taken, self.times = taken, times

    def free_port(self) -> int:
        self.times -= 1
        return self.taken if self.times >= 0 else super().free_port()


@pytest.mark.slow
async def test_a_free_port_that_is_lost_is_tried_again_elsewhere(lab: Lab, events: EventLog, double: Double) -> None:
    async with FaultyServer("stranger") as stranger:
        lucky = await launch(lab, Crowded(lab.jobs, stranger.port, 2), double({}))
        manifest = await lucky.ensure_ready(events)
        assert (manifest.state, manifest.attempt) == ("ready", 2)
        assert kinds(events).count("server_starting") == 3
        await lucky.stop()
        unlucky = await launch(lab, Crowded(lab.jobs, stranger.port, 9), double({}), key="k2")
        with pytest.raises(ServerError) as caught:
            await unlucky.ensure_ready(events)
        assert caught.value.failure == "port_in_use"
        assert unlucky.manifest.attempt == 2


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


async def test_an_adapter_under_our_name_from_another_folder_is_refused(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, adapter: Path, double: Double
) -> None:
    server = await launch(lab, place, double(conditions))
    manifest = await server.ensure_ready(events)
    assert manifest.url is not None
    async with Chat(manifest.url) as chat:
        await chat.unload_adapter(manifest.conditions["early"])
        await chat.load_adapter(manifest.conditions["early"], adapter)
    with pytest.raises(ServerError, match="served from"):
        await server.ensure_ready(events)


async def test_a_server_that_dies_is_diagnosed_by_its_log_and_adoption_says_so(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}))
    await server.ensure_ready(events)
    os.kill(json.loads((the_job(server).folder / "start.json").read_text())["child"]["pid"], signal.SIGKILL)
    the_job(server).wait(10)
    with pytest.raises(ServerError) as caught:
        await Server.attach(lab, place, server.manifest.id).ensure_ready(events)
    assert caught.value.failure == "unknown"
    assert "-9" in caught.value.what
    assert load(lab, server.manifest.id).state == "failed"


async def test_a_killed_wrapper_is_a_lost_server(lab: Lab, place: Local, events: EventLog, double: Double) -> None:
    server = await launch(lab, place, double({}))
    await server.ensure_ready(events)
    pid = the_job(server).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    the_job(server).wait(10)
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "server_lost"


@pytest.mark.slow
async def test_a_server_without_an_owner_ends_by_its_lease(lab: Lab, events: EventLog, double: Double) -> None:
    (lab.root / "pyproject.toml").write_text("[tool.nightlab]\nlease-seconds = 1\n")
    short = Lab.open(lab.root)
    place = Local(short.jobs)
    server = await launch(short, place, double({}))
    await server.ensure_ready(events)
    start = time.monotonic()
    while server.alive():
        assert time.monotonic() - start < 5
        await asyncio.sleep(0.05)
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "lease_expired"


async def test_a_start_that_fails_names_class_log_and_remedy(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}, "--no-such-flag"))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "unknown"
    assert "--no-such-flag" in caught.value.what, "the last words of an unknown failure are quoted"
    assert caught.value.log is not None
    assert caught.value.log.is_file()
    script = "import sys; sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB')"
    bad = Wanted("m", "m", Path("m"), argv=("python3", "-c", script))
    other = await launch(lab, place, bad, key="k2")
    with pytest.raises(ServerError) as caught:
        await other.ensure_ready(events)
    assert caught.value.failure == "cuda_oom"


async def test_a_server_that_never_gets_ready_runs_into_the_time_limit(
    lab: Lab, events: EventLog, double: Double
) -> None:
    (lab.root / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 1\n")
    short = Lab.open(lab.root)
    server = await launch(short, Local(short.jobs), double({}, "--lead", "30"))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "start_timeout"
    assert not server.alive()


async def test_a_server_that_cannot_complete_a_token_is_not_ready(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await launch(lab, place, double({}, "--faults", '[{"kind": "error_body", "times": null}]'))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "no_answer"


async def test_a_server_that_cannot_load_adapters_says_which_switch_is_off(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    server = await launch(lab, place, double(conditions, "--no-runtime-adapters"))
    with pytest.raises(ServerError) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "lora_runtime_update_off"


async def test_a_condition_that_does_not_answer_fails_the_canary(
    lab: Lab, place: Local, events: EventLog, conditions: Conditions, double: Double
) -> None:
    fault = {"kind": "wrong_model", "times": None, "model": conditions["late"].name}
    server = await launch(lab, place, double(conditions, "--faults", json.dumps([fault])))
    with pytest.raises(CanaryFailed) as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "canary_unanswered"
    canary = [row for row in events.read() if row["kind"] == "canary"][-1]
    assert "contract_broken" in canary["evidence"]["late"]


async def test_stop_all_leaves_nothing_running(lab: Lab, place: Local, events: EventLog, double: Double) -> None:
    ready = await launch(lab, place, double({}), key="a")
    await ready.ensure_ready(events)
    starting = await launch(lab, place, double({}, "--lead", "30"), key="b")
    assert sorted(await stop_all(lab, events)) == sorted([ready.manifest.id, starting.manifest.id])
    assert [m.state for m in list_servers(lab)] == ["stopped", "stopped"]
    assert not any(job.state() == "running" for job in place.jobs())
    assert await stop_all(lab) == []


def test_an_unknown_or_damaged_manifest_is_named(lab: Lab) -> None:
    lab.servers.mkdir(parents=True)
    manifest_path(lab, "llama-1234").write_text("{}")
    with pytest.raises(UsageError, match="llama-1235") as caught:
        load(lab, "llama-1235")
    assert "llama-1234" in (caught.value.hint or "")
    with pytest.raises(StorageError, match="damaged"):
        list_servers(lab)

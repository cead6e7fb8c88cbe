"""Servers that fail, with real processes: each is named by a class, refused, and not left running."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nightlab.adapters.compile import Compiled
from nightlab.compute.local import Local, LocalJob
from nightlab.errors import AdapterError, ServerError
from nightlab.events import EventLog
from nightlab.evidence.table import canary_passed
from nightlab.lab import Lab
from nightlab.servers.canary import PROBES
from nightlab.servers.chat import Chat
from nightlab.servers.manifest import load
from nightlab.servers.server import Server, Wanted, list_servers
from nightlab.testing import Fault, FaultyServer

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
    the_job(server).wait(60)
    with pytest.raises(ServerError) as caught:
        await Server.attach(lab, place, server.manifest.id).ensure_ready(events)
    assert caught.value.failure == "unknown"
    assert "-9" in caught.value.what
    assert load(lab, server.manifest.id).state == "failed"


async def test_a_server_that_dies_in_a_later_canary_keeps_the_proof_of_its_rows(
    lab: Lab, place: Local, events: EventLog
) -> None:
    """What it no longer answered says nothing of its answers: the canary before stands, and its end is the reason."""
    server = await launch(lab, place, mute(), port=place.free_port())
    child = json.loads((the_job(server).folder / "start.json").read_text())["child"]["pid"]
    armed = False

    def dies(body: Mapping[str, Any]) -> str | None:
        if armed and PROBES[0] in str(body):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            answering.fail(Fault("drop", times=None))
        return None

    async with FaultyServer(server.manifest.served_name, port=server.manifest.port, reply=dies) as answering:
        proven = await server.ensure_ready(events)
        armed = True
        with pytest.raises(ServerError) as caught:
            await server.prove_again(events, "end of a sweep")
    assert (type(caught.value), caught.value.failure) == (ServerError, "unknown")
    assert "-9" in caught.value.what
    record = load(lab, proven.id)
    assert (record.state, record.canaries) == ("failed", proven.canaries)
    assert canary_passed(record.model_dump())
    with pytest.raises(ServerError) as again:
        await server.ensure_ready(events)
    assert type(again.value) is ServerError, "nor does anybody hear later that its canary failed"


async def test_a_killed_wrapper_is_a_lost_server(lab: Lab, place: Local, events: EventLog, double: Double) -> None:
    server = await launch(lab, place, double({}))
    await server.ensure_ready(events)
    pid = the_job(server).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    the_job(server).wait(60)
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
        assert time.monotonic() - start < 30
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
    assert "came as far as: nothing of a start in its log yet" in caught.value.what
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


def mute() -> Wanted:
    """A server whose log says that it is ready, and that does not listen."""
    return Wanted("m", "m", Path("m"), argv=("/bin/bash", "-c", "echo Application startup complete.; sleep 60"))


async def test_a_stranger_on_the_port_of_a_living_server_is_never_used(
    lab: Lab, place: Local, events: EventLog
) -> None:
    async with FaultyServer("stranger") as foreign:
        server = await launch(lab, place, mute(), port=foreign.port)
        with pytest.raises(ServerError, match="'stranger'") as caught:
            await server.ensure_ready(events)
        assert caught.value.failure == "foreign_server"
        assert not foreign.requests
    assert not server.alive()


async def test_two_servers_behind_one_port_are_found_out(lab: Lab, place: Local, events: EventLog) -> None:
    port = place.free_port()
    server = await launch(lab, place, mute(), port=port)
    names = itertools.cycle([server.manifest.served_name, "the-other"])

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": next(names)}]})

    async with serving(port, models):
        with pytest.raises(ServerError, match="the-other") as caught:
            await server.ensure_ready(events)
    assert caught.value.failure == "port_shared_silently"


async def test_a_port_taken_by_something_else_is_said_as_such(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>It works!</html>", content_type="text/html")

    port = place.free_port()
    async with serving(port, page):
        server = await launch(lab, place, double({}), port=port)
        with pytest.raises(ServerError, match="no model server") as caught:
            await server.ensure_ready(events)
    assert caught.value.failure == "port_in_use"


async def test_a_server_that_says_it_is_ready_and_does_not_listen_times_out(lab: Lab, events: EventLog) -> None:
    (lab.root / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 1\n")
    short = Lab.open(lab.root)
    server = await launch(short, Local(short.jobs), mute())
    with pytest.raises(ServerError, match="did not answer in time; by its log it came as far as: started") as caught:
        await server.ensure_ready(events)
    assert caught.value.failure == "start_timeout"


async def test_a_folder_that_is_no_compiled_adapter_is_refused_before_anything_starts(
    lab: Lab, place: Local, conditions: Conditions, double: Double
) -> None:
    broken = dataclasses.replace(conditions["early"], path=lab.root)
    with pytest.raises(AdapterError, match="compiled"):
        await launch(lab, place, double({"early": broken}))
    assert list_servers(lab) == []
    assert place.jobs() == []


@contextlib.asynccontextmanager
async def serving(port: int, answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield
    await runner.cleanup()

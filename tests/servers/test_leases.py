"""Who looks after a server: kept for the next night, taken over by it, ended by its lease, listed with what it uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from nightlab.adapters.compile import Compiled
from nightlab.compute.local import Local
from nightlab.errors import UsageError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.morning.brief import brief_of
from nightlab.night.looking_after import look_after
from nightlab.night.wrapup import stop_servers
from nightlab.servers.leases import idle_seconds, in_use, seconds_of, take_over
from nightlab.servers.listing import server_rows
from nightlab.servers.manifest import list_servers, load, manifest_path, save
from nightlab.servers.server import Server, Wanted
from tests.compute.conftest import until

Double = Callable[..., Wanted]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1h30m", 5400), ("90 min", 5400), ("0.5h", 1800), ("45s", 45), ("0", 0)]
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "two hours", "-1h", "9999h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text)


@pytest.mark.slow
async def test_a_kept_server_outlives_its_night_and_ends_by_itself(
    lab: Lab, place: Local, events: EventLog, conditions: dict[str, Compiled], double: Double
) -> None:
    pyproject = lab.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("lease-seconds = 120", "lease-seconds = 1"))
    lab = Lab.open(lab.root)
    kept, other = [
        await Server.launch(lab, place, replace(double(conditions), keep_seconds=seconds), key=key, night="n1")
        for key, seconds in (("kept", 4.0), ("other", 0.0))
    ]
    owned = asyncio.create_task(_renewing([kept, other]))
    await asyncio.gather(kept.ensure_ready(events), other.ensure_ready(events))
    async with in_use(lab, kept.manifest.id):
        pass
    assert (idle_seconds(lab, kept.manifest.id, None) or 0.0) < 5
    owned.cancel()
    await asyncio.to_thread(stop_servers, lab, "n1", events)
    began = time.monotonic()
    assert (load(lab, other.manifest.id).state, other.alive()) == ("stopped", False)
    manifest = load(lab, kept.manifest.id)
    assert (manifest.state, kept.alive()) == ("ready", True)
    said = events.last("server_kept")
    assert said is not None
    assert said["until"] == manifest.kept_until
    [row] = server_rows(lab)
    assert (row["id"], row["place"], row["night"], row["alive"]) == (kept.manifest.id, "local", "n1", True)
    assert row["adapters"] == ["early", "full", "late"]
    assert 0 <= row["idle_seconds"] <= row["age_seconds"] < 60
    await asyncio.sleep(2.5)
    assert kept.alive(), "it has a lease that is longer than the lab's"
    assert kept.job is not None
    assert await asyncio.to_thread(kept.job.wait, 15) == "stopped"  # type: ignore[attr-defined]
    assert 3.5 < time.monotonic() - began < 12
    assert kept.job.reason() == "lease"
    [row] = server_rows(lab)
    assert (row["state"], row["process"], row["alive"]) == ("ready", "stopped", False)
    assert row["age_seconds"] >= 4


async def test_the_next_night_takes_a_kept_server_over(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    server = await Server.launch(lab, place, replace(double({}), keep_seconds=600.0), key="k", night="n1")
    await server.ensure_ready(events)
    await asyncio.to_thread(stop_servers, lab, "n1", events)
    again = Server.attach(lab, place, server.manifest.id)
    assert again.manifest.kept_until
    assert brief_of(lab).kept[0].startswith("kept: llama until ")
    await take_over(again, "n2")
    taken = load(lab, server.manifest.id)
    assert (taken.night, taken.kept_until, taken.keep_seconds) == ("n2", None, 0)
    assert brief_of(lab).kept == ()
    await asyncio.to_thread(stop_servers, lab, "n1", events)
    assert again.alive()
    await asyncio.to_thread(stop_servers, lab, "n2", events)
    assert not again.alive()


async def test_a_server_whose_place_is_gone_costs_no_other_its_lease(
    lab: Lab, place: Local, events: EventLog, double: Double
) -> None:
    for key in ("a", "b"):
        await Server.launch(lab, place, double({}), key=key, night="n1")
    lost, other = sorted(list_servers(lab), key=lambda manifest: (manifest.started, manifest.id))
    save(lab, lost.model_copy(update={"place": "places/gone.py:box"}))
    job = place.find(other.job)
    assert job is not None
    before = (job.folder / "lease").read_text()
    looking = asyncio.create_task(look_after(lab, "n1", events, look=0.1))
    await asyncio.to_thread(until, lambda: looking.done() or (job.folder / "lease").read_text() != before)
    assert not looking.done()
    looking.cancel()
    [said] = [event for event in events.read() if event["kind"] == "degradation"]
    assert said["where"] == lost.id
    assert "places/gone.py:box" in said["what"]
    [row, living] = server_rows(lab)
    assert (row["process"], row["alive"], living["alive"]) == ("unreachable", True, True)


async def test_a_damaged_manifest_is_left_out_of_the_list(lab: Lab, place: Local, double: Double) -> None:
    server = await Server.launch(lab, place, double({}), key="k", night="n1")
    manifest_path(lab, "broken-1").write_text("{")
    assert [row["id"] for row in server_rows(lab)] == [server.manifest.id]
    assert server_rows(lab)[0]["gpu_hours"] == 0


async def _renewing(servers: list[Server]) -> None:
    while True:
        for server in servers:
            await asyncio.to_thread(server.renew)
        await asyncio.sleep(0.2)

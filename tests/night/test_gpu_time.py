"""The GPU time of servers is in the night's ledger, and its limit ends the night."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nightlab.budget import Budget, Limits
from nightlab.compute import open_place
from nightlab.compute.place import JobSpec
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.works import NightWorks
from nightlab.servers.manifest import Manifest, save
from tests.night.conftest import make_lab

NIGHT = "n"


def manifest(gpus: int) -> Manifest:
    return Manifest(
        id="tiny-1", key="k", night=NIGHT, model="tiny", model_id="org/tiny", model_path="/m", engine="embedded",
        served_name="tiny", place="local", job="tiny-1", port=8000, flags=[], conditions={}, state="starting",
        gpus=gpus, started="2026-11-23T00:00:00.000Z",
    )  # fmt: skip


async def looked_after(lab: Lab, budget: Budget, until: Callable[[NightWorks], bool]) -> NightWorks:
    """A night that looks after one server, whose job sleeps, until something holds."""
    place = open_place(lab)
    job = place.start(JobSpec(key="tiny-1", argv=("sleep", "60"), cwd=str(lab.root), env={}, lease_seconds=60))
    works = NightWorks(lab, place, NIGHT, EventLog(lab.night(NIGHT)), budget)
    try:
        for _ in range(1200):
            if until(works):
                break
            await asyncio.sleep(0.05)
    finally:
        await works.close()
        job.stop(0.0)
    return works


async def test_a_running_server_is_charged_by_the_minute(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    save(lab, manifest(gpus=2))
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits(gpu_seconds=3600))
    works = await looked_after(lab, budget, lambda works: works.budget.spent().gpu_seconds > 0)
    assert budget.spent().gpu_seconds in (120, 240), "two GPUs for each minute of the wall clock it was seen in"
    assert not works.stop.is_set()


async def test_the_limit_ends_the_night_before_it_is_crossed(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab")
    save(lab, manifest(gpus=2))
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits(gpu_seconds=100))
    works = await looked_after(lab, budget, lambda works: works.stop.is_set())
    assert works.why_stopped.startswith("gpu_seconds: 120 would be used of 100")
    assert budget.spent().gpu_seconds == 0

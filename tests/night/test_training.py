"""A training as a night's work: preempted, killed, taken up again; refused at once where it cannot be right."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Budget, Limits
from nightlab.compute.local import Local
from nightlab.events import EventLog
from nightlab.night.works import NightWorks
from nightlab.servers import registry
from nightlab.toolbox import Toolbox
from tests.tools.conftest import NIGHT, Night
from tests.tools.conftest import night as night
from tests.training.conftest import data as data

SETTINGS: dict[str, Any] = {"targets": ["q_proj", "v_proj"], "batch": 6, "micro_batch": 6, "checkpoint_every": 2}
ASKED: dict[str, Any] = {"model": "practice:llama", "rank": 2, "steps": 8, "learning_rate": 5e-3, "settings": SETTINGS}


async def until(path: Path, seconds: float = 120.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if path.exists():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} did not come")


@pytest.mark.slow(15)
@pytest.mark.real
async def test_a_killed_training_job_is_started_again_and_goes_on(
    night: Night, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = night.lab
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # what the place says it has
    (lab.root / "chats.jsonl").write_bytes(data.read_bytes())
    done = await night.call("train_adapter", name="sour", data="chats.jsonl", **ASKED)
    assert done.data == {"adapter": "adapters/sour", "handle": "train:sour"}, done
    place, events = Local(lab.jobs), EventLog(lab.night(NIGHT))
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits())
    works = NightWorks(lab, place, NIGHT, events, budget)
    try:
        works.ensure("train:sour")
        await until(lab.trained / "sour" / "checkpoint.pt")
        job = place.find("train/sour/1")
        assert job is not None
        assert job.pid is not None
        os.kill(job.pid, signal.SIGKILL)
        [state] = await works.wait(["train:sour"], 240)
    finally:
        await works.close()
    assert state["state"] == "done", state
    assert state["result"]["steps"] == 8
    assert state["result"]["adapter"] == "adapters/sour"
    listed = {one.card.path: one.fits for one in registry.adapters(lab, registry.models(lab))}
    assert "nightlab/practice-llama" in listed[lab.trained / "sour"]
    started = [row for row in events.read() if row["kind"] == "training_started"]
    assert [row["attempt"] for row in started] == [1, 2]
    assert started[1]["step"] >= 2
    spent = budget.by_who()["trainings"].gpu_seconds
    assert spent in [60.0 * jobs for jobs in range(2, 9)], "one GPU, a whole minute at least for each of two jobs"
    assert job.spec.gpus == 1
    assert [row["adapter"] for row in events.read() if row["kind"] == "training_done"] == ["sour"]


async def test_what_cannot_be_trained_is_said_before_a_job_is_started(night: Night) -> None:
    lab = night.lab
    (lab.root / "chats.jsonl").write_text('{"messages": [{"role": "uzer", "content": "x"}]}\n')
    for changes, said in (
        ({}, "message 1 has the unknown role 'uzer'"),
        ({"data": "none.jsonl"}, "no such file"),
        ({"name": "../x"}, "may not write"),
        ({"settings": {"rnk": 3}}, "unknown key `rnk`"),
        ({"data": "../outside.jsonl"}, "not inside the lab"),
    ):
        arguments = {"name": "sour", "data": "chats.jsonl", **ASKED, **changes}
        done = await night.call("train_adapter", **arguments)
        assert not done.ok
        assert done.error is not None
        assert said in f"{done.error.code} {done.error.what}", (changes, done.error)
    assert not lab.trained.exists()
    assert night.works.asked == []
    assert "train_adapter" in Toolbox.load(lab).tools

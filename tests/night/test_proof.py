"""Proof around a sweep with real servers: a forgotten adapter, a drifted answer, stale code, servers that are gone."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute.local import Local, LocalJob
from nightlab.errors import CanaryFailed
from nightlab.events import EventLog
from nightlab.experiments.cells import cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import SAMPLES, Samples
from nightlab.experiments.sweep import run_sweep
from nightlab.lab import Lab
from nightlab.night import proof, serving
from nightlab.servers import manifest as manifests
from nightlab.servers.chat import Chat
from nightlab.servers.readings import Reading
from nightlab.servers.server import Server
from tests.night.conftest import make_lab
from tests.night.practice_lab import small_plan

pytestmark = [pytest.mark.real, pytest.mark.slow(12)]


class Scene:
    """A lab with a frozen plan, its place and events, and what a sweep needs."""

    def __init__(self, root: Path) -> None:
        self.lab: Lab = make_lab(root, table="server-timeout = 120\nlease-seconds = 120")
        self.plan: Plan = small_plan(self.lab)
        self.place, self.events = Local(self.lab.jobs), EventLog(self.lab.night("n1"))

    async def start(self, key: str = "k") -> Server:
        want = serving.wanted(self.lab, self.plan, self.plan.model("llama"))
        server = await Server.launch(self.lab, self.place, want, key=key, night="n1")
        await server.ensure_ready(self.events)
        return server

    async def sweep(self, count: int | None = None) -> None:
        end = serving.endpoint(self.lab, self.plan, self.plan.model("llama"))
        reload = functools.partial(proof.reload, self.lab, self.events)
        asked = list(cells(self.plan))[:count]
        result = await run_sweep(self.plan, asked, {"llama": end}, events=self.events, reload=reload)
        assert result.missing == 0

    def hasten(self) -> None:
        """Rewrite the rows as if something had answered faster than any model can."""
        path = self.plan.folder / SAMPLES
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**line, "latency": 0.0001}) + "\n" for line in lines))

    def rows(self) -> list[dict[str, Any]]:
        return list(Samples(self.plan.folder).rows())

    def events_of(self, *kinds: str) -> list[dict[str, Any]]:
        return [row for row in self.events.read() if row["kind"] in kinds]


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path / "lab")
    yield made
    for job in made.place.jobs():
        await asyncio.to_thread(job.stop, 0.5)


async def test_an_adapter_is_loaded_again_and_both_ends_agree(scene: Scene) -> None:
    server = await scene.start()
    served = server.manifest.conditions["layers_0_20"]
    assert server.manifest.url is not None
    async with Chat(server.manifest.url) as chat:
        await chat.unload_adapter(served)
    await scene.sweep()
    await proof.swept(scene.lab, scene.events, scene.plan, server.manifest.id)
    assert [row["adapter"] for row in scene.events_of("adapter_reloaded")] == [served]
    seen = manifests.load(scene.lab, server.manifest.id)
    assert [(one["at"].split()[0], one["passed"]) for one in seen.canaries] == [
        ("started", True),
        ("reloaded", True),
        ("end", True),
    ]
    assert seen.canary is not None
    ends = {check["name"]: check for check in seen.canary["checks"]}
    assert ends["same_at_both_ends"]["evidence"]["moved"] == {}
    assert ends["modules_found"]["evidence"]["found"] == ends["modules_found"]["evidence"]["modules"] > 100
    assert ends["rendered_as_intended"]["evidence"]["prefill"]["by"] == "files"
    rows = scene.rows()
    assert {row["canary"] for row in rows} <= {one["id"] for one in seen.canaries}
    assert seen.canaries[1]["id"] in {row["canary"] for row in rows if row["condition"] == "layers_0_20"}


async def test_drift_and_stale_code_set_rows_aside_and_the_night_can_go_on(scene: Scene) -> None:
    server = await scene.start()
    await scene.sweep(4)
    record = manifests.load(scene.lab, server.manifest.id)
    assert record.code is not None
    older = {name: root.model_copy(update={"sha256": "0" * 64}) for name, root in record.code.roots.items()}
    aged = record.model_copy(update={"code": record.code.model_copy(update={"roots": older})})
    manifests.save(scene.lab, aged)
    (adopted,) = await proof.adopt_all(scene.lab, scene.events)
    assert (adopted.outcome, adopted.failure) == ("stale", "stale_code")
    assert not server.alive()
    assert scene.rows() == []
    assert [row["samples"] for row in scene.events_of("quarantine")] == [4]

    second = await scene.start("again")
    await scene.sweep(6)
    scene.hasten()
    await proof.swept(scene.lab, scene.events, scene.plan, second.manifest.id)
    assert scene.rows() == [], "no model answers so fast"
    assert "implausible speed of llama" in scene.events_of("quarantine")[-1]["why"]
    await scene.sweep(6)
    assert len(scene.rows()) == 6
    full = second.manifest.conditions["sarcasm_full"]
    other = [Reading(text="no", tokens=("no",), logprobs=(-0.1,))] * 3
    record = manifests.load(scene.lab, second.manifest.id)
    manifests.save(scene.lab, record.model_copy(update={"reference": {**record.reference, full: other}}))
    with pytest.raises(CanaryFailed) as caught:
        await proof.swept(scene.lab, scene.events, scene.plan, second.manifest.id)
    assert caught.value.failure == "answers_drifted"
    assert not second.alive()
    assert scene.rows() == []

    third = await scene.start("third")
    await scene.sweep()
    scene.hasten()
    assert third.job is not None
    third.job.stop(grace=1)
    await proof.swept(scene.lab, scene.events, scene.plan, third.manifest.id)
    assert len(scene.rows()) == len(list(cells(scene.plan))), "what a server gave before it was lost still stands"
    again, unproven = scene.events_of("degradation")[-2:]
    assert again["what"] == "implausible speed of llama again"
    assert "on another server before, so the rows stay" in again["why"], "the model itself may be so"
    assert "no canary after the sweep" in unproven["what"]
    assert [one.outcome for one in await proof.adopt_all(scene.lab, scene.events)] == []


async def test_a_living_server_is_adopted_and_a_lost_one_is_said(scene: Scene) -> None:
    living, lost = await asyncio.gather(scene.start("living"), scene.start("lost"))
    assert lost.job is not None
    os.kill(json.loads((lost.job.folder / "start.json").read_text())["child"]["pid"], signal.SIGKILL)
    assert isinstance(lost.job, LocalJob)
    await asyncio.to_thread(lost.job.wait, 60)
    done = await asyncio.to_thread(
        CliRunner().invoke, cli, ["--lab", str(scene.lab.root), "servers", "adopt", "--json"]
    )
    assert done.exit_code == 1, "one of them was lost"
    found = {one["server"]: one for one in json.loads(done.output)}
    assert found[living.manifest.id]["outcome"] == "adopted"
    assert found[lost.manifest.id]["outcome"] == "gone"
    assert manifests.load(scene.lab, lost.manifest.id).state == "failed", "nobody asked it to end"
    ready = serving.ready_server(scene.lab, scene.plan, scene.plan.model("llama"))
    assert ready is not None
    assert ready.id == living.manifest.id

    await scene.sweep(3)
    full = ready.conditions["sarcasm_full"]
    other = [Reading(text="no", tokens=("no",), logprobs=(-0.1,))] * 3
    manifests.save(scene.lab, ready.model_copy(update={"reference": {**ready.reference, full: other}}))
    (drifted,) = await proof.adopt_all(scene.lab, scene.events)
    assert (drifted.outcome, drifted.failure) == ("failed", "answers_drifted")
    assert scene.rows() == [], "what it gave since the last canary that passed is invalid"
    [event] = scene.events_of("invalidation")
    assert event["samples"] == 3
    assert "answers_drifted when it was adopted" in event["why"]

"""A server that fails every cell of its share in the same way is diagnosed, started again, proven, and asked again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute import open_place
from nightlab.compute.place import ended
from nightlab.events import EventLog
from nightlab.experiments.samples import Samples
from nightlab.experiments.share import Stopped
from nightlab.night import mending
from nightlab.night.serving import endpoint_of
from nightlab.servers.manifest import list_servers
from nightlab.servers.server import Server, Wanted
from tests.night.conftest import make_lab
from tests.night.practice_lab import small_plan


@pytest.mark.real
@pytest.mark.slow
def test_a_sweep_starts_a_server_again_that_forgot_everything_and_goes_on_with_it(tmp_path: Path) -> None:
    """The first start answers four cells and then 404 to all others; the second one is well."""
    faults = [{"kind": "status", "status": 404, "times": None, "skip": 4}]
    words = [sys.executable, "-P", "-m", "nightlab.testing.staged", "--times", "1", "--count", f"{tmp_path}/starts"]
    words += ["--faults", json.dumps(faults), "--"]
    table = f"server-timeout = 60\nlease-seconds = 60\nserver-prefix = {json.dumps(shlex.join(words))}"
    lab = make_lab(tmp_path / "lab", table=table)
    plan = small_plan(lab, conditions=("sarcasm_full",))
    done = CliRunner().invoke(cli, ["--lab", str(lab.root), "sweep", plan.name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "12 answered, 0 failed, 0 missing of 12" in done.output
    [manifest] = list_servers(lab)
    assert [step["class"] for step in manifest.healed] == ["share_stopped"]
    assert (manifest.attempt, manifest.state) == (1, "stopped")
    assert [one["at"].split()[0] for one in manifest.canaries] == ["started", "started", "end"]
    assert not Server.attach(lab, open_place(lab), manifest.id).alive(), "nothing of either start is left"
    [folder] = (lab.cache / "sweeps").iterdir()
    with contextlib.closing(EventLog(folder)) as log:
        told = list(log.read())
    assert [row["step"] for row in told if row["kind"] == "server_healing"] == ["started again as it was"]
    assert [row["kind"] for row in told].count("server_ready") == 2
    rows = list(Samples(plan.folder).rows())
    proofs = [one["id"] for one in manifest.canaries[:2]]
    assert [row["canary"] for row in rows].count(proofs[0]) >= 4
    assert {row["canary"] for row in rows} == set(proofs), "each answer stands by the proof of the start that gave it"


@pytest.mark.real
@pytest.mark.slow
async def test_two_shares_of_one_dead_server_are_healed_by_one_start(tmp_path: Path) -> None:
    """Both know at once that it is gone; the one that comes second goes on with what the first one started."""
    lab = make_lab(tmp_path / "lab", table="server-timeout = 60\nlease-seconds = 60")
    argv = (sys.executable, "-P", "-m", "nightlab.testing.faulty_server", "--port", "{port}")
    want = Wanted("llama", "nightlab/double", Path("double"), argv=(*argv, "--served-name", "{served_name}"))
    with contextlib.closing(EventLog(lab.night("n1"))) as events:
        server = await Server.launch(lab, open_place(lab), want, key="k", night="n1")
        try:
            end = endpoint_of(await server.ensure_ready(events))
            assert await mending.gone(lab, end) is None
            assert server.job is not None
            os.kill(json.loads((server.job.folder / "start.json").read_text())["child"]["pid"], signal.SIGKILL)
            await ended(server.job, timeout=30, look=0.05)
            why = await mending.gone(lab, end)
            assert why == "the server's job is over (failed)"
            stop = Stopped("llama", end.server, "connection", why, 0)
            one, other = await asyncio.gather(*(mending.mend(lab, events, stop) for _ in range(2)))
            assert one is not None
            assert other is not None
            assert (one.server, one.canary) == (other.server, other.canary) == (end.server, f"{end.server}/2")
            [manifest] = list_servers(lab)
            assert (manifest.attempt, manifest.state) == (1, "ready")
            assert [row["kind"] for row in events.read()].count("server_healing") == 1
        finally:
            await Server.attach(lab, open_place(lab), server.manifest.id).stop()
    assert await mending.gone(lab, end) == "the server is recorded as stopped"
    assert await mending.gone(lab, replace(end, server="nobody-00000000")) is None, "what is not known proves nothing"

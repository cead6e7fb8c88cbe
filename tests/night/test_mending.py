"""A server that fails every cell of its share in the same way is diagnosed, started again, proven, and asked again."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.compute import open_place
from nightlab.events import EventLog
from nightlab.experiments.samples import Samples
from nightlab.servers.manifest import list_servers
from nightlab.servers.server import Server
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

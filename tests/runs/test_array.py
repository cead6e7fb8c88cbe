"""Runs that a queue took only in part: what it has is ended, and what it never had can be started in another night."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.compute.slurm import Slurm
from nightlab.errors import NightlabError
from nightlab.lab import Lab
from nightlab.runs.freeze import freeze_run
from nightlab.runs.runner import run_all
from tests.runs.test_runner import write

SBATCH = """
[ -e allowed ] || { echo 'sbatch: error: Batch job submission failed: Job violates policy' >&2; exit 1; }
rm allowed
for word in "$@"; do case $word in --job-name=*) name=${word#--job-name=};; esac; done
printf '1_%d|PENDING|Resources||%s\\n' 0 "$name" 1 "$name" > queue
echo 1
"""
COMMANDS = {
    "sbatch": SBATCH,
    "squeue": "cat queue",
    "scancel": 'echo "$*" > cancelled; : > queue',
    "scontrol": "echo MaxArraySize = 2",
    "sacct": "exit 0",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of a cluster whose arrays hold two tasks, and which takes one array."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\ncd {folder}\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "allowed").touch()
    (folder / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


async def test_what_was_handed_in_before_a_refusal_is_ended(tmp_path: Path, site: Path) -> None:
    plan = write(tmp_path / "lab")
    freeze_run(plan)
    place = Slurm(tmp_path / "jobs")
    with pytest.raises(NightlabError, match="violates policy"):
        await run_all(Lab.find(plan.folder), plan, place)
    assert (site / "cancelled").read_text().split() == ["1_0", "1_1"]
    jobs = place.jobs()
    assert {job.id for job in jobs} == {"1_0", "1_1", ""}
    assert all((job.folder / "stop.json").exists() for job in jobs), "Slurm may have one of them, and did not tell"
    (site / "allowed").touch()
    [later] = [job for job in place.start_all([job.spec for job in jobs if not job.id][:1]) if job.id]
    assert not (later.folder / "stop.json").exists()

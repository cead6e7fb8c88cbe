"""GPU minutes in the ledger: each once, whoever sees it, those that nobody saw too."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nightlab.budget import Budget, Limits
from nightlab.compute.gpu_time import MINUTE, GpuTime
from nightlab.compute.local import Local, LocalJob
from nightlab.compute.place import JobSpec
from nightlab.errors import BudgetExceeded
from nightlab.job_folder import EXIT, START


@pytest.fixture
def job(tmp_path: Path) -> LocalJob:
    """A job that is over."""
    made = Local(tmp_path / "jobs").start(JobSpec(key="train/sour/1", argv=("true",), cwd=str(tmp_path)))
    assert made.wait(20) == "finished"
    return made


def at(job: LocalJob, name: str, t: float) -> None:
    """Set the time in a file of a job: what a job wrote that began, or ended, long ago."""
    path = job.folder / name
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "t": t}), "utf-8")


def test_minutes_that_nobody_saw_are_counted_once_from_the_jobs_beginning_to_its_end(
    job: LocalJob, tmp_path: Path
) -> None:
    now = time.time() // MINUTE * MINUTE
    at(job, START, now - 600)
    at(job, EXIT, now - 301)
    budget = Budget(tmp_path / "ledger.jsonl", Limits(gpu_seconds=100))
    for since in (now - 10_000, now - 10_000):  # the second as a night that was killed and goes on
        GpuTime(budget, since).charge(job, 2, "finished", "trainings")
    assert budget.spent().gpu_seconds == 2 * 5 * MINUTE, "whatever the limit: it was used"
    assert budget.by_who()["trainings"].gpu_seconds == budget.spent().gpu_seconds
    budget.close()
    assert Budget(tmp_path / "ledger.jsonl", Limits()).spent().gpu_seconds == 2 * 5 * MINUTE


def test_what_ran_before_the_night_is_not_its_own(job: LocalJob, tmp_path: Path) -> None:
    now = time.time() // MINUTE * MINUTE
    at(job, START, now - 600)
    at(job, EXIT, now - 301)
    budget = Budget(tmp_path / "ledger.jsonl", Limits())
    GpuTime(budget, now - 420).charge(job, 1, "finished", "runs")
    assert budget.spent().gpu_seconds == 2 * MINUTE


def test_the_minute_under_way_is_reserved_and_its_limit_said(job: LocalJob, tmp_path: Path) -> None:
    at(job, START, time.time())
    budget = Budget(tmp_path / "ledger.jsonl", Limits(gpu_seconds=2 * MINUTE))
    clock = GpuTime(budget, 0.0)
    for _ in range(5):
        clock.charge(job, 1, "running", "runs")
    assert budget.spent().gpu_seconds in (MINUTE, 2 * MINUTE)
    for state, gpus in (("queued", 1), ("unreachable", 1), ("lost", 0)):
        GpuTime(budget, 0.0).charge(job, gpus, state, "runs")  # type: ignore[arg-type]
    assert budget.spent().gpu_seconds in (MINUTE, 2 * MINUTE)
    with pytest.raises(BudgetExceeded, match="gpu_seconds: "):
        GpuTime(Budget(tmp_path / "other.jsonl", Limits(gpu_seconds=1)), 0.0).charge(job, 1, "running", "runs")

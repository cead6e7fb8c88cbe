"""Runs as real jobs in the sandbox: metrics, logs and hashes as rows; cut off, they go on; failures stop the grid."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.budget import Budget, Clock, Limits
from nightlab.compute.local import Local
from nightlab.compute.sandbox.ladder import probe
from nightlab.compute.slurm import Slurm
from nightlab.compute.slurm_queue import SlurmQueue
from nightlab.errors import FrozenError, PlanError, SweepStopped
from nightlab.events import EventLog
from nightlab.experiments.samples import Samples
from nightlab.lab import Lab
from nightlab.runs.freeze import freeze_run
from nightlab.runs.plan import RunPlan
from nightlab.runs.result import find_metrics
from nightlab.runs.runner import run_all
from tests.slurm import Cluster

SCRIPT = """
import json, os, pathlib, sys
rank, seed, out = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
(out / "made.txt").write_text(f"{rank} {seed}")
print("working on", rank)
if rank == 13: sys.exit("no such rank")
if rank == 14: print("no metrics here"); sys.exit()
if rank == 15:
    import time; time.sleep(60)
print(json.dumps({"loss": 1 / rank + seed / 1000, "note": "text", "flag": True}))
print("a last word")
"""


def write(lab: Path, **changes: Any) -> RunPlan:
    """A lab with an experiment of a tiny script over rank and replicate."""
    lab.mkdir(exist_ok=True)
    (lab / "pyproject.toml").write_text("[tool.nightlab]\n")
    folder = lab / "experiments" / "exp_001_runs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "work.py").write_text(SCRIPT)
    config = {
        "question": "Which rank?",
        "kind": "run",
        "command": ["python", "{folder}/work.py", "{rank}", "{seed}", "{out}"],
        "parameters": {"rank": [1, 2]},
        "replicates": 2,
        "seed": 5,
        "inputs": ["work.py"],
        "metrics": {"loss": "minimise"},
        "artefacts": ["made.txt"],
        "timeout_seconds": 30,
        "max_parallel": 2,
    } | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return RunPlan.load(folder)


async def make(plan: RunPlan, events: EventLog | None = None) -> Any:
    lab = Lab.find(plan.folder)
    return await run_all(lab, plan, Local(lab.cache / "jobs"), events=events)


def rows(plan: RunPlan) -> list[Mapping[str, Any]]:
    return list(Samples(plan.folder).rows())


needs_sandbox = pytest.mark.skipif(probe().level == "none", reason="no containment here")


@needs_sandbox
@pytest.mark.slow
async def test_a_grid_becomes_rows_and_a_second_call_makes_nothing(tmp_path: Path) -> None:
    plan = write(tmp_path)
    with pytest.raises(FrozenError):
        await make(plan)
    freeze_run(plan)
    events = EventLog(tmp_path / "events")
    result = await make(plan, events)
    assert (result.planned, result.made, result.failed, result.missing) == (4, 4, 0, 0)
    by = {(row["params"]["rank"], row["replicate"]): row for row in rows(plan)}
    assert by.keys() == {(rank, number) for rank in (1, 2) for number in (0, 1)}
    row = by[2, 1]
    assert (row["seed"], row["metrics"]) == (6, {"loss": 0.506})
    assert (
        plan.folder / row["log"]
    ).read_text() == 'working on 2\n{"loss": 0.506, "note": "text", "flag": true}\na last word\n'
    assert len(row["artefacts"]["made.txt"]) == 64
    assert row["level"] == probe().level
    (plan.out(plan.grid()[3]) / "result.json").unlink()
    lines = (plan.folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (plan.folder / "samples.jsonl").write_text("".join(lines[:2]))  # two rows were lost, one of them with its result
    again = await make(plan)
    assert (again.made, again.missing) == (2, 0)
    assert len(rows(plan)) == 4
    kinds = [event["kind"] for event in events.read()]
    assert (kinds[0], kinds[-1]) == ("sweep_started", "sweep_finished")
    (plan.folder / "work.py").write_text(SCRIPT + "\n# changed")
    with pytest.raises(FrozenError, match="inputs"):
        await make(RunPlan.load(plan.folder))


@needs_sandbox
@pytest.mark.slow
@pytest.mark.real
async def test_runs_wait_for_their_turn_in_a_queue(cluster: Cluster, tmp_path: Path) -> None:
    plan = write(tmp_path, replicates=1)
    freeze_run(plan)
    lab = Lab.find(plan.folder)
    place = Slurm(lab.jobs, {"gres": "gpu:2"}, queue=SlurmQueue(patience=2.5))
    result = await run_all(lab, plan, place, night="n1")
    assert (result.made, result.failed, result.missing) == (2, 0, 0)
    assert {row["place"] for row in rows(plan)} == {"slurm"}
    assert [job.spec.owner for job in place.jobs()] == ["n1", "n1"], "none was taken for lost while it was pending"
    numbers = {tuple(job.id.split("_")) for job in place.jobs()}
    assert {task for _, task in numbers} == {"0", "1"}
    assert len({array for array, _ in numbers}) == 1, "one array, not a job for each run"


@needs_sandbox
@pytest.mark.slow
async def test_failures_are_classed_lines_and_the_same_one_again_stops_the_grid(tmp_path: Path) -> None:
    plan = write(tmp_path, parameters={"rank": [13, 14, 15, 1]}, replicates=1, timeout_seconds=1, max_parallel=4)
    freeze_run(plan)
    result = await make(plan)
    assert (result.made, result.failed, result.missing, result.error()) == (1, 3, 3, None)
    classes = {row["params"]["rank"]: (row["class"], row["error"]) for row in Samples(plan.folder).failures()}
    assert classes[13] == ("failed", "exit code 1: no such rank")
    assert classes[14] == ("no_metrics", "no line of its output is a JSON object")
    assert classes[15] == ("timed_out", "it went above its limit: time")
    same = write(tmp_path / "other", parameters={"rank": [13]}, replicates=6, max_parallel=1)
    freeze_run(same)
    stopped = await make(same)
    assert (stopped.failed, stopped.missing) == (3, 6)
    assert isinstance(stopped.error(), SweepStopped)
    assert "no such rank" in stopped.stopped


@needs_sandbox
@pytest.mark.slow
async def test_a_cancelled_grid_leaves_nothing_running_and_goes_on(tmp_path: Path) -> None:
    plan = write(tmp_path, parameters={"rank": [15, 16, 17]}, replicates=1, max_parallel=3, inputs=[])
    (plan.folder / "work.py").write_text(SCRIPT.replace("rank == 15", "rank > 14"))
    freeze_run(plan)
    task = asyncio.create_task(make(plan))
    place = Local(tmp_path / ".nightlab" / "jobs")
    async with asyncio.timeout(20):
        while [job.state() for job in place.jobs()] != ["running"] * 3:  # noqa: ASYNC110 - jobs of other processes
            await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [job.state() for job in place.jobs()] == ["stopped"] * 3
    assert rows(plan) == []
    (plan.folder / "work.py").write_text(SCRIPT.replace("rank == 15", "rank > 17"))
    result = await make(plan)
    assert result.error() is None, "three that were ended are not three that failed alike"
    assert (result.made, result.failed, result.missing) == (3, 0, 0)


class Queue(Local):
    """This machine as a place that takes many jobs in one call."""

    name = "queue"
    queues = True


async def test_runs_whose_time_is_up_leave_no_job_in_a_queue(tmp_path: Path) -> None:
    plan = write(tmp_path, parameters={"rank": [15]}, replicates=1)
    freeze_run(plan)
    lab = Lab.find(plan.folder)
    place = Queue(lab.cache / "jobs")
    late = Budget(tmp_path / "late.jsonl", Limits(deadline=time.time() - 1))
    assert (await run_all(lab, plan, place, budget=late)).failure == "clock"
    assert place.jobs() == [], "none is handed in"
    looks = itertools.count()
    clock = Clock(wall=lambda: 0.0 if next(looks) < 2 else 100.0)  # it is up between the first look and the second
    soon = Budget(tmp_path / "soon.jsonl", Limits(deadline=50.0), clock=clock)
    assert (await run_all(lab, plan, place, budget=soon)).failure == "clock"
    assert [job.state() for job in place.jobs()] == ["stopped"], "what no worker took is ended"


@needs_sandbox
@pytest.mark.slow
async def test_a_search_keeps_what_beats_the_noise_and_goes_on_from_its_rows(tmp_path: Path) -> None:
    script = SCRIPT.replace("1 / rank + seed / 1000", "(rank - 4) ** 2 + int(sys.argv[4]) * 0.001 + seed % 3 * 0.01")
    search = {"metric": "loss", "baseline": {"rank": 1, "width": 0}, "repeats": 3, "keep_above": 2}
    plan = write(
        tmp_path,
        command=["python", "{folder}/work.py", "{rank}", "{seed}", "{out}", "{width}"],
        parameters={"rank": [1, 4, 8], "width": [0, 1]},
        replicates=1,
        search=search,
    )
    (plan.folder / "work.py").write_text(script)
    plan = RunPlan.load(plan.folder)
    freeze_run(plan)
    result = await make(plan)
    assert [(d.params, d.verdict) for d in result.decisions] == [
        ({"rank": 1, "width": 0}, "baseline"),
        ({"rank": 4, "width": 0}, "kept"),
        ({"rank": 8, "width": 0}, "discarded"),
        ({"rank": 4, "width": 1}, "discarded"),  # worse by less than the noise: chance is no reason
    ]
    assert (result.made, result.planned, result.missing) == (6, 6, 0)
    assert (await make(plan)).decisions == result.decisions


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"command": ["python", "{rnk}"]}, "did you mean 'rank'"),
        ({"command": ["python", "work.py"]}, "changes nothing"),
        ({"parameters": {"seed": [1]}}, "cannot be called"),
        ({"metrics_from": "../other.json"}, "leads out"),
        ({"inputs": ["gone.txt"]}, "is not there"),
        ({"search": {"metric": "los", "baseline": {"rank": 1}}}, "did you mean 'loss'"),
        ({"search": {"metric": "loss", "baseline": {}}}, "does not fit"),
        ({"replicate": 3}, "did you mean"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as caught:
        freeze_run(write(tmp_path, **changes))
    assert says in str(caught.value)


def test_keys_follow_from_what_could_change_a_result(tmp_path: Path) -> None:
    plan = write(tmp_path)
    before = [cell.key for cell in plan.grid()]
    assert len(set(before)) == 4
    assert [c.key for c in write(tmp_path, max_parallel=1, timeout_seconds=9, question="Else?").grid()] == before
    assert set(before) < {c.key for c in write(tmp_path, parameters={"rank": [1, 2, 4]}, replicates=3).grid()}
    for change in ({"seed": 6}, {"env": {"A": "1"}}, {"command": ["python", "x.py", "{rank}"]}):
        assert not set(before) & {cell.key for cell in write(tmp_path, **change).grid()}
    (plan.folder / "work.py").write_text("other")
    assert not set(before) & {cell.key for cell in RunPlan.load(plan.folder).grid()}


def test_metrics_come_from_the_last_object_alone() -> None:
    text = f"{json.dumps({'loss': 1})}\nlog\n{json.dumps({'loss': 2, 'acc': 0.5, 'name': 'x'})}\n{{not json}}\nend\n"
    assert find_metrics(text, ["loss"]) == ({"loss": 2.0, "acc": 0.5}, "")
    assert find_metrics(text, ["f1"])[1] == "the metric 'f1' is missing or no finite number"
    assert find_metrics('{"loss": NaN}', ["loss"])[1]
    assert find_metrics("", ["loss"])[1] == "no line of its output is a JSON object"

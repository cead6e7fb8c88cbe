"""The cards of this machine: shared out between runs side by side, kept over a crash, never given twice."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Budget, Limits
from nightlab.compute.gpu_time import GpuTime
from nightlab.compute.local import Local
from nightlab.compute.place import Job, JobState
from nightlab.errors import PlaceUnreachable, UsageError
from nightlab.lab import Lab
from nightlab.runs import cards
from nightlab.runs.freeze import freeze_run
from nightlab.runs.one import perform
from nightlab.runs.plan import RunPlan
from nightlab.runs.runner import run_all
from nightlab.runs.starting import Starter
from tests.runs.test_runner import make, rows, write

SAYS = """
import json, os, time
began, card = time.time(), int(os.environ["CUDA_VISIBLE_DEVICES"] or -1)
time.sleep(1)
print(json.dumps({"card": card, "began": began, "ended": time.time()}))
"""


def sleeps(lab: Path) -> RunPlan:
    """Two runs of a minute, each with a card, in a lab that trusts its plans."""
    command = ["python", "-c", "import time; time.sleep(60)", "{rank}"]
    plan = write(lab, command=command, metrics={"card": "watch"}, artefacts=[], gpus=1, replicates=1)
    (lab / "pyproject.toml").write_text('[tool.nightlab]\ncontainment = "none"\n')
    return plan


def shown(plan: RunPlan, number: int) -> str:
    """The cards in the frozen spec of a run."""
    spec: dict[str, Any] = json.loads((plan.out(plan.grid()[number]) / "spec.json").read_text())
    return str(spec["env"]["CUDA_VISIBLE_DEVICES"])


@pytest.mark.slow
async def test_the_cards_of_this_machine_are_shared_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    command = ["python", "-c", SAYS, "{rank}"]
    plan = write(tmp_path, command=command, metrics={"card": "watch"}, artefacts=[], gpus=1)
    freeze_run(plan)
    with pytest.raises(UsageError, match="each run needs 1 GPU, and the sandbox shows a command none") as caught:
        await make(plan)
    assert 'containment = "none"' in (caught.value.hint or "")
    (tmp_path / "pyproject.toml").write_text('[tool.nightlab]\ncontainment = "none"\n')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(UsageError, match="each run needs 1 GPU, 2 side by side; this machine shows 1"):
        await make(plan)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    lab, seen = Lab.find(plan.folder), []
    place = Local(lab.cache / "jobs")
    budget = Budget(tmp_path / "ledger.jsonl", Limits())
    clock = GpuTime(budget, time.time())

    def charge(job: Job, state: JobState, gpus: int) -> None:
        seen.append(gpus)
        clock.charge(job, gpus, state, "runs")

    assert (await run_all(lab, plan, place, seen=charge)).made == 4
    made = [row["metrics"] for row in rows(plan)]
    together = [
        (a, b) for a, b in itertools.combinations(made, 2) if a["began"] < b["ended"] and b["began"] < a["ended"]
    ]
    assert together, "two run side by side"
    assert all({a["card"], b["card"]} == {4, 7} for a, b in together), together
    assert set(seen) == {1} == {job.spec.gpus for job in place.jobs()}
    assert budget.by_who()["runs"].gpu_seconds >= 4 * 60, "a minute at least for each of four jobs"
    at_once = ["python", "-c", SAYS.replace("sleep(1)", "sleep(0)"), "{rank}"]
    none = write(tmp_path / "none", command=at_once, metrics={"card": "watch"}, artefacts=[], replicates=1)
    (tmp_path / "none" / "pyproject.toml").write_text('[tool.nightlab]\ncontainment = "none"\n')
    freeze_run(none)
    await make(none)
    assert {row["metrics"]["card"] for row in rows(none)} == {-1}, "who asks for none is shown none"


def test_a_run_that_goes_on_keeps_its_card_and_no_plan_gives_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    plan, other = sleeps(tmp_path / "a"), sleeps(tmp_path / "b")
    place, there = Local(tmp_path / "a" / "jobs"), Local(tmp_path / "b" / "jobs")
    first, second = plan.grid()
    Starter(Lab.find(plan.folder), plan, place, "").start(second, 1)
    assert shown(plan, 1) == "4"
    cards.free(plan.out(second))  # its process died, and knows of no card any more
    starter, beside = Starter(Lab.find(plan.folder), plan, place, ""), Starter(Lab.find(other.folder), other, there, "")
    try:
        assert list(starter.take_up([(first, 1), (second, 1)])) == [second.key]
        starter.start(first, 1)
        assert shown(plan, 0) == "7", "the living run has the other one"
        with pytest.raises(PlaceUnreachable, match="every GPU of this machine is in use"):
            beside.start(other.grid()[0], 1)
        starter.stop_all([])
        beside.start(other.grid()[0], 1)
        assert shown(other, 0) == "4", "what a plan held is free after it"
    finally:
        starter.stop_all(place.jobs())
        beside.stop_all(there.jobs())


async def test_a_command_sees_the_cards_that_a_queue_gave_or_those_of_its_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # as Slurm sets it for a job
    argv = ["python", "-c", SAYS.replace("sleep(1)", "sleep(0)")]
    spec: dict[str, Any] = {"root": str(tmp_path), "argv": argv, "env": {}, "seconds": 20, "memory_gb": 1}
    spec |= {"metrics": ["card"], "metrics_from": "stdout", "artefacts": [], "containment": "none"}
    assert (await perform(spec, tmp_path)).metrics["card"] == 3
    assert (await perform(spec | {"env": {"CUDA_VISIBLE_DEVICES": ""}}, tmp_path)).metrics["card"] == -1

"""How often a training is started again: as long as it gets further, and six times from the same step."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from nightlab.compute.local import Local
from nightlab.compute.place import Job
from nightlab.errors import NightlabError, StorageError, UsageError
from nightlab.files import JsonLines
from nightlab.job_folder import EXIT
from nightlab.lab import Lab
from nightlab.training.jobs import ATTEMPTS, MOST_HOURS, WRONG, begin, job_of
from nightlab.training.kept import STARTS, step_kept, tell_step
from tests.training.conftest import quick


def started(folder: Path, steps: list[int]) -> None:
    """Write down starts as if jobs had gone on from these steps."""
    with contextlib.closing(JsonLines(folder / STARTS)) as store:
        for number, step in enumerate(steps, 101):
            store.append({"attempt": number, "step": step, "t": "2026-11-25T00:00:00.000Z"})


def ended(job: Job, code: int, hours: float) -> None:
    """End a job, and write down its end as if it had left with this code after so many hours."""
    job.stop(0.0)
    path = job.folder / EXIT
    began = job.began() or time.time()
    path.write_text(json.dumps({"code": code, "reason": "exited", "t": began + hours * 3600}))


def test_starts_that_get_further_are_not_counted(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    lab = Lab.open(tmp_path)
    place = Local(lab.jobs)
    folder = begin(lab, "sour", quick(data))
    assert step_kept(folder) == 0
    started(folder, [0, 50, 100, 150, 200, 250, 300, *[350] * ATTEMPTS])
    tell_step(folder, 350)
    with pytest.raises(NightlabError, match=rf"ended {ATTEMPTS} times at step 350 without getting further") as caught:
        job_of(lab, place, "sour")
    assert STARTS in (caught.value.hint or "")
    assert place.jobs() == []
    tell_step(folder, 400)
    job, attempt = job_of(lab, place, "sour")
    job.stop(0.0)
    assert attempt == 1
    assert [row["step"] for row in JsonLines(folder / STARTS).read()][-1] == 400
    again, second = job_of(lab, place, "sour")
    again.stop(0.0)
    assert second == 2, "a job that was ended is followed by the next one"
    rows = list(JsonLines(folder / STARTS).read())
    assert [row["attempt"] for row in rows[-2:]] == [1, 2]


def test_hours_count_again_where_a_person_removed_the_list(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    lab = Lab.open(tmp_path)
    place = Local(lab.jobs)
    folder = begin(lab, "sour", quick(data))
    ended(job_of(lab, place, "sour")[0], 1, MOST_HOURS + 1)
    with pytest.raises(NightlabError, match="ran 241 hours in 1 starts") as caught:
        job_of(lab, place, "sour")
    assert f"remove {STARTS}" in (caught.value.hint or "")
    (folder / STARTS).unlink()
    job, attempt = job_of(lab, place, "sour")
    job.stop(0.0)
    assert attempt == 2


def test_what_was_wrong_is_not_repeated_unless_it_had_got_further(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    lab = Lab.open(tmp_path)
    place = Local(lab.jobs)
    folder = begin(lab, "sour", quick(data))
    ended(job_of(lab, place, "sour")[0], WRONG, 0.1)
    with pytest.raises(UsageError, match="cannot be right") as caught:
        job_of(lab, place, "sour")
    assert "under another name" in (caught.value.hint or "")
    tell_step(folder, 50)
    job, attempt = job_of(lab, place, "sour")
    job.stop(0.0)
    assert attempt == 2, "a checkpoint shows that it can be right"
    assert StorageError("the disk is full").exit_code != WRONG, "nor is a full disk a mistake"

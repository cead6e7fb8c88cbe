"""A training as a job of a place: started by name, followed, and started again where it was preempted or killed.

Everything needed to go on stands in `adapters/NAME` (recipe, checkpoint, metrics), so any process of any night can take
it up. Starts that get further (a queue's time limit ended the last one) are not counted; a training is given up after
ATTEMPTS starts from the same step, or MOST_HOURS of running. Exit code 2 before the first checkpoint was wrong from the
start: it is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nightlab.compute.place import NEVER_STARTED, OVER, Job, JobSpec, JobState, Place, answered, ended, tells
from nightlab.errors import NightlabError, PlaceUnreachable, UsageError
from nightlab.events import EventLog
from nightlab.files import JsonLines, now, write_atomic
from nightlab.lab import Lab
from nightlab.training.chats import read_chats
from nightlab.training.kept import STARTS, step_kept
from nightlab.training.provenance import read_provenance
from nightlab.training.recipe import Recipe, read_recipe
from nightlab.training.weights import find_model

ATTEMPTS = 6  # times that a training is started from the same step before it is given up
MOST_HOURS = 240.0  # that its jobs may run in all, from the first start that is listed
GRACE = 30.0  # seconds in which a training that is stopped saves where it stands
WRONG = 2  # the exit code of a training that cannot be right
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_LOOK = 0.5  # seconds between two looks at a job
_RECIPE = "recipe.yaml"
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def begin(lab: Lab, name: str, recipe: Recipe) -> Path:
    """Keep the recipe of a training under its name; the folder. Raises UsageError for what cannot be trained."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be an adapter's name", hint="letters, digits, and _ . - between them")
    data = Path(recipe.data).expanduser()
    data = data if data.is_absolute() else lab.root / data
    read_chats(data)
    find_model(recipe.model, recipe.revision)
    kept = recipe.model_copy(update={"data": str(data.resolve())})
    path = lab.trained / name / _RECIPE
    if path.exists() and read_recipe(path, {}) != kept:
        hint = "give another name: an adapter never changes once it stands"
        raise UsageError(f"the adapter {name} has another recipe", where=path, hint=hint)
    content = kept.model_dump(mode="json", exclude_none=True)
    write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path.parent


def job_of(
    lab: Lab, place: Place, name: str, resources: Mapping[str, str] | None = None, *, night: str = ""
) -> tuple[Job, int]:
    """The job that trains an adapter now, and the number of its attempt; started where none runs. Raises NightlabError.

    After one that ended without an adapter comes the next attempt, as long as they get further. One that its place
    never took is no attempt. Raises PlaceUnreachable where that cannot be known.
    """
    folder = lab.trained / name
    attempt, last, ran = 0, "", 0.0
    while True:
        attempt += 1
        key = _key(name, attempt)
        job = place.find(key)
        state = job.state() if job is not None else "lost"
        if job is None or (state == "lost" and job.reason() == NEVER_STARTED):
            _count(folder, attempt, ran, last)
            return place.start(_spec(lab, folder, key, resources or {}, night)), attempt
        if state == "unreachable" and not job.id:
            raise PlaceUnreachable(job.reason() or "no answer", where=folder)
        if state not in OVER or state == "finished":
            return job, attempt
        last = last_words(job.log)
        ran += _ran(job)
        if job.exit_code() == WRONG and not step_kept(folder):
            hint = "mend the cause, then train it under another name"
            raise UsageError(f"the training of {name} cannot be right: {last}", where=folder, hint=hint)


def _count(folder: Path, attempt: int, ran: float, last: str) -> None:
    """Write down that an attempt starts, and from which step. Raises NightlabError where the last ones led nowhere."""
    step = step_kept(folder)
    with contextlib.closing(JsonLines(folder / STARTS)) as store:
        starts = list(store.read())
        if any(row["attempt"] == attempt for row in starts):
            return
        same = sum(row["step"] == step for row in starts)
        hint = f"mend the cause and remove {STARTS} there to let it try again; the log of each start is kept"
        if same >= ATTEMPTS:
            what = f"the training of {folder.name} ended {same} times at step {step} without getting further: {last}"
            raise NightlabError(what, where=folder, hint=hint)
        since = ran - starts[0].get("ran", 0.0) if starts else 0.0
        if since > MOST_HOURS * 3600:
            what = f"the training of {folder.name} ran {since / 3600:.0f} hours in {len(starts)} starts: {last}"
            raise NightlabError(what, where=folder, hint=hint)
        store.append({"attempt": attempt, "step": step, "ran": round(ran, 3), "t": now()})


def _ran(job: Job) -> float:
    """The seconds that a job ran; 0 where its end is not known."""
    began, ended_at = job.began(), job.ended()
    return 0.0 if began is None or ended_at is None else ended_at - began


def _key(name: str, attempt: int) -> str:
    return f"train/{name}/{attempt}"


async def follow(
    lab: Lab,
    place: Place,
    name: str,
    events: EventLog,
    resources: Mapping[str, str],
    *,
    night: str = "",
    seen: Callable[[Job, JobState], None] = lambda job, state: None,
) -> dict[str, Any]:
    """Train to the end, over every loss of a job; the metrics of the adapter. Raises NightlabError.

    While the place does not answer it waits: what runs there runs on. `seen` hears how its job stands.
    """
    folder = lab.trained / name
    told_of = 0

    for earlier in _jobs(place, name):
        seen(earlier, await asyncio.to_thread(earlier.state))
    while (card := await asyncio.to_thread(read_provenance, folder)) is None:
        asked = functools.partial(asyncio.to_thread, job_of, lab, place, name, resources, night=night)
        job, attempt = await answered(asked, tells(events, place.name, f"the training of {name}"))
        if attempt != told_of:
            told = {"adapter": name, "attempt": attempt, "step": steps_taken(folder), "job": job.id}
            events.once(f"train/{name}/{attempt}", "training_started", **told)
            told_of = attempt
        try:
            await ended(job, look=_LOOK, seen=seen)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(job.stop, GRACE))
            raise
    events.once(f"train/{name}/done", "training_done", adapter=name, **card["metrics"])
    return {"adapter": lab.relative(folder), "sha256": card["adapter_sha256"], **card["metrics"]}


def _jobs(place: Place, name: str) -> Iterator[Job]:
    """The jobs of a training so far, oldest first."""
    for attempt in itertools.count(1):
        job = place.find(_key(name, attempt))
        if job is None:
            return
        yield job


def steps_taken(folder: Path) -> int:
    """How far a training has come, by its metrics."""
    return max((int(row["step"]) for row in JsonLines(folder / "metrics.jsonl").read()), default=0)


def last_words(log: Path) -> str:
    """The last thing that a job said, on one line."""
    text = log.read_text(encoding="utf-8", errors="replace")[-4000:] if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("nightlab: ")), lines[-1] if lines else "it said nothing")
    return said.removeprefix("nightlab: ")[:400]


def _spec(lab: Lab, folder: Path, key: str, resources: Mapping[str, str], night: str) -> JobSpec:
    argv = (sys.executable, "-P", "-m", "nightlab", "train", str(folder / _RECIPE), "--out", str(folder), "--json")
    return JobSpec(
        key=key,
        argv=argv,
        cwd=str(lab.root),
        env=_ENVIRONMENT,
        lease_seconds=lab.config.lease_seconds,
        requeue=True,
        resources=resources,
        gpus=1,
        owner=night,
    )

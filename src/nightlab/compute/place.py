"""The seam between what runs and where: a Place starts jobs and finds them again; a Job is asked, renewed and stopped.

A key names one run for ever: starting it twice gives one job. `exit.json` decides how a job ended. Three answers are
kept apart: a job that is gone without an exit file is "lost"; one whose place cannot be asked just now is "unreachable"
and may run on; one that waits for its turn is "queued". Only the states in OVER are an end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from nightlab.compute.route import Proof, Route
from nightlab.errors import PlaceUnreachable
from nightlab.events import EventLog

JobState = Literal["queued", "running", "unreachable", "finished", "failed", "stopped", "lost"]
OVER: frozenset[JobState] = frozenset({"finished", "failed", "stopped", "lost"})
Answer = TypeVar("Answer")
AWAY = 2.0  # seconds between two questions to a place that does not answer
_SIDE_BY_SIDE = 16  # jobs that are ended at the same time
PORT = "{port}"
"""Stands in the command of a spec with `pick_port`; the job fills in a free port of the machine it runs on."""
NEVER_STARTED = "never started"
"""The reason of a lost job that its place never took: starting its key again is its first start."""


@dataclass(frozen=True)
class JobSpec:
    """A command, frozen before it runs. `env` is added to the launcher's environment and stands in a file: no secrets.

    Without `lease_seconds` nothing ends the job but itself and `stop`. With `requeue` a queue may run the command
    again after a preemption or a lost node: it must go on where it stopped. `resources` are asked of a place that
    shares them out (partition, account, qos, gres, time, flags); this machine has no queue and gives what it has.
    `gpus` is how many GPUs its command can use where nobody shares them out, None for all that it sees. `owner` is the
    night that started it; another night that takes it up starts no other job.
    """

    key: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    lease_seconds: float | None = None
    pick_port: bool = False
    requeue: bool = False
    resources: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = field(default=None, compare=False)
    owner: str = field(default="", compare=False)


class Job(Protocol):
    """One run of a spec, here or elsewhere."""

    @property
    def id(self) -> str:
        """Its name in its place."""

    @property
    def folder(self) -> Path:
        """Where its spec, log and exit file are."""

    @property
    def log(self) -> Path:
        """The output of the command, stdout and stderr together."""

    @property
    def spec(self) -> JobSpec:
        """The frozen spec."""

    def state(self) -> JobState:
        """How it stands now. It may ask the place, within bounded time: call it in a thread."""

    def exit_code(self) -> int | None:
        """The command's exit code, minus the signal that ended it; None while there is none."""

    def reason(self) -> str | None:
        """Why it ended, or why it waits: exited, stopped, lease; of a queue cancelled, timeout, preempted, ..."""

    def port(self) -> int | None:
        """The port that it picked, once it runs; None where it was not asked to."""

    def began(self) -> float | None:
        """When its command began, in seconds since the epoch; None before."""

    def ended(self) -> float | None:
        """When its command had ended, in seconds since the epoch; None before, and where nobody lived to record it."""

    def stop(self, grace: float = 5.0) -> None:
        """End every process of it: TERM, then KILL after `grace` seconds. Nothing of it runs when this returns."""

    def renew(self, seconds: float | None = None) -> None:
        """Prolong the lease: its owner is alive. With `seconds` it holds that long from now on."""


class Place(Protocol):
    """Somewhere that commands run."""

    name: str
    queues: bool
    """Whether jobs wait there for their turn: only then does the `at_once` of `start_all` bind."""

    def start(self, spec: JobSpec) -> Job:
        """Start a job, or return the one that this key started before."""

    def start_all(self, specs: Sequence[JobSpec], at_once: int | None = None) -> list[Job]:
        """Start many jobs in one call, or find those started before; a queue runs at most `at_once` side by side."""

    def stop_all(self, jobs: Sequence[Job], grace: float = 5.0) -> None:
        """End many jobs of it, all at the same time. Raises NightlabError where one does not end."""

    def find(self, key: str) -> Job | None:
        """The job of a key, from any process, or None."""

    def jobs(self) -> list[Job]:
        """All jobs of this lab here, oldest first."""

    def free_port(self) -> int:
        """A port that nothing listens on where a job would run, else 0: the job picks one (`pick_port`)."""

    async def reach(self, job: Job, port: int, proves: Proof) -> Route:
        """The way to a port of a running job, at whose end the right server answers. Raises NightlabError."""

    def gpus(self, resources: Mapping[str, str], most: int | None = None) -> int:
        """How many GPUs a job with these resources holds, as far as the place knows.

        Where a place shares none out, a job holds those that its command can use: at most `most`.
        """


def stop_each(jobs: Sequence[Job], grace: float = 5.0) -> None:
    """End jobs side by side, for a place that has no word for many. Raises the first NightlabError."""
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as threads:
        for done in [threads.submit(job.stop, grace) for job in jobs]:
            done.result()


async def ended(
    job: Job,
    *,
    timeout: float | None = None,
    renew: bool = True,
    look: float = 1.0,
    seen: Callable[[Job, JobState], None] = lambda job, state: None,
) -> JobState:
    """Wait until a job is over, its lease renewed meanwhile; its state, which is no end when the time is up.

    `seen` hears at each look how it stands, and at its end.
    """
    until = None if timeout is None else time.monotonic() + timeout
    lease = job.spec.lease_seconds
    renewed = float("-inf")
    while (state := await asyncio.to_thread(job.state)) not in OVER:
        seen(job, state)
        if until is not None and time.monotonic() > until:
            break
        if renew and lease is not None and time.monotonic() - renewed > lease / 4:
            await asyncio.to_thread(job.renew)
            renewed = time.monotonic()
        await asyncio.sleep(min(look, (lease or 4 * look) / 4))
    if state in OVER:
        seen(job, state)
    return state


Told = Callable[[PlaceUnreachable | None], None]


async def answered(ask: Callable[[], Awaitable[Answer]], told: Told) -> Answer:
    """What a place answers, asked again until it does; `told` hears once that it is away, and None when it is back."""
    away = False
    while True:
        try:
            answer = await ask()
        except PlaceUnreachable as error:
            if not away:
                told(error)
            away = True
            await asyncio.sleep(AWAY)
            continue
        if away:
            told(None)
        return answer


def tells(events: EventLog | None, place: str, who: str) -> Told:
    """For `answered`: the events that a place is away, and who waits for it, and that it is back."""

    def told(away: PlaceUnreachable | None) -> None:
        if events is None:
            return
        if away is None:
            events.emit("place_back", place=place)
        else:
            events.emit("place_away", place=place, what=f"{away.what}: {who} waits")

    return told

"""The seam between what runs and where: a Place starts jobs and finds them again; a Job is asked, renewed and stopped.

A key names one run for ever: starting it twice gives one job. `exit.json` decides how a job ended; without it: "lost".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

JobState = Literal["running", "finished", "failed", "stopped", "lost"]


@dataclass(frozen=True)
class JobSpec:
    """A command, frozen before it runs. `env` is added to the launcher's environment and stands in a file: no secrets.

    Without `lease_seconds` nothing ends the job but itself and `stop`.
    """

    key: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    lease_seconds: float | None = None


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
        """How it stands now: the exit file decides; gone without one is lost."""

    def exit_code(self) -> int | None:
        """The command's exit code, minus the signal that ended it; None while there is none."""

    def reason(self) -> str | None:
        """Why it ended: exited, stopped or lease; None while there is no exit file."""

    def stop(self, grace: float = 5.0) -> None:
        """End every process of it: TERM, then KILL after `grace` seconds. Nothing of it runs when this returns."""

    def renew(self) -> None:
        """Prolong the lease: its owner is alive."""


class Place(Protocol):
    """Somewhere that commands run."""

    name: str

    def start(self, spec: JobSpec) -> Job:
        """Start a job, or return the one that this key started before."""

    def find(self, key: str) -> Job | None:
        """The job of a key, from any process, or None."""

    def jobs(self) -> list[Job]:
        """All jobs of this lab here, oldest first."""

    def free_port(self) -> int:
        """A port that nothing listens on where a job would run; another process may take it first."""

    async def address(self, job: Job, port: int) -> str:
        """`host:port` by which this process reaches a port of a job."""

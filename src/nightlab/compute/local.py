"""Jobs on this machine: detached processes that outlive their launcher, identified by pid, start time and boot.

A pid alone names nobody: it is used again. Limits: Linux, and a file system with working flock for the job folders.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nightlab import processes
from nightlab.compute.folders import (
    PATIENCE,
    STARTING,
    FolderJob,
    environment,
    folder_name,
    new_folder,
    spec_files,
    starting,
)
from nightlab.compute.place import NEVER_STARTED, Job, JobSpec, JobState, stop_each
from nightlab.compute.route import Proof, Route, at
from nightlab.errors import NightlabError
from nightlab.files import write_atomic
from nightlab.job_folder import EXIT, LOCK, SPEC, START, STOP, lock

_CARDS = 10.0  # seconds that the driver may take to name its cards: without a daemon it wakes them first


class LocalJob(FolderJob):
    """A job on this machine, by its folder."""

    place = "local"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.id = folder.name

    def __repr__(self) -> str:
        return f"LocalJob({self.id}, {self.state()})"

    @property
    def pid(self) -> int | None:
        """The process around the command, where it lives."""
        start = self.read(START)
        return int(start["pid"]) if start and _lives(start, start["boot_id"]) else None

    def state(self) -> JobState:
        """How it stands now: the exit file decides; gone without one is lost."""
        alive = self._alive()
        end = self.read(EXIT)  # read after the process: it may end in between
        if end is None:
            return "running" if alive else "lost"
        if end["reason"] != "exited":
            return "stopped"
        return "finished" if end["code"] == 0 else "failed"

    def reason(self) -> str | None:
        """Why it ended: exited, stopped or lease; or that it never began."""
        never = self.state() == "lost" and self.read(START) is None
        return NEVER_STARTED if never else super().reason()

    def stop(self, grace: float = 5.0) -> None:
        """End every process of it: TERM, then KILL after `grace` seconds. Nothing of it runs when this returns."""
        deadline, told = time.monotonic() + grace + PATIENCE, False
        while self.state() == "running" and time.monotonic() < deadline:
            if not told and (pid := self.pid) is not None:  # none yet while it is being started
                write_atomic(self.folder / STOP, json.dumps({"grace": grace}))
                _signal(pid, signal.SIGTERM)
                told = True
            time.sleep(0.02)
        self._sweep_up()

    def _alive(self) -> bool:
        start = self.read(START)
        if start is not None:
            return _lives(start, start["boot_id"])
        return _held(self.folder, STARTING) or _held(self.folder, LOCK)

    def _sweep_up(self) -> None:
        """Kill what still carries the job's mark: a wrapper that hangs, the orphans of one that was killed."""
        deadline = time.monotonic() + PATIENCE
        while left := _marked(self.folder):
            if time.monotonic() > deadline:
                raise NightlabError(f"processes {left} of job {self.id} cannot be ended", where=self.folder)
            for pid in left:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.02)


class Local:
    """This machine as a place; `folder` holds one folder for each job."""

    name = "local"
    queues = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, spec: JobSpec) -> LocalJob:
        """Start a job, or return the one that this key started before; raises UsageError where its spec was another."""
        folder = new_folder(self.folder, spec)
        with starting(folder):
            job = LocalJob(folder)
            job.freeze(spec)
            if not any((folder / name).exists() for name in (START, EXIT)):
                job.renew()
                _launch(job)
        return job

    def start_all(self, specs: Sequence[JobSpec], at_once: int | None = None) -> list[Job]:
        """Start many jobs, all of them now: this machine has no queue."""
        return [self.start(spec) for spec in specs]

    def stop_all(self, jobs: Sequence[Job], grace: float = 5.0) -> None:
        """End many jobs, all at the same time."""
        stop_each(jobs, grace)

    def find(self, key: str) -> LocalJob | None:
        """The job of a key, from any process, or None."""
        folder = self.folder / folder_name(key)
        return LocalJob(folder) if (folder / SPEC).exists() else None

    def jobs(self) -> list[Job]:
        """All jobs of this lab here, oldest first."""
        return [LocalJob(folder) for folder in spec_files(self.folder)]

    def free_port(self) -> int:
        """A port that nothing listens on now; another process may take it first."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    async def reach(self, job: Job, port: int, proves: Proof) -> Route:
        """The direct way; who stands at its end is the caller's question."""
        return at("127.0.0.1", port)

    def gpus(self, resources: Mapping[str, str], most: int | None = None) -> int:
        """As many as its command can use of those that this machine shows: CUDA_VISIBLE_DEVICES, else all its cards."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        there = _cards() if shown is None else len([one for one in shown.split(",") if one.strip() not in ("", "-1")])
        return there if most is None else min(there, most)


@functools.cache
def _cards() -> int:
    """The NVIDIA cards of this machine; 0 where their driver does not answer in time. Asked once in a process."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, timeout=_CARDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


def _launch(job: LocalJob) -> None:
    """Start the wrapper and wait until it has written start.json; it goes on by itself."""
    argv = [sys.executable, "-P", "-m", "nightlab.job", "--detach", str(job.folder / SPEC)]
    marked = environment() | {processes.MARK: str(job.folder.resolve())}
    done = subprocess.run(argv, env=marked, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    if job.read(START) is None:
        said = done.stderr.decode(errors="replace")[-500:] or job.last_words()
        raise NightlabError(f"the job did not start: {said.strip()}", where=job.folder)


def _held(folder: Path, name: str) -> bool:
    if not (folder / name).exists():
        return False
    fd = lock(str(folder), name, 0.0)
    if fd is not None:
        os.close(fd)
    return fd is None


def _lives(process: dict[str, Any], boot: str) -> bool:
    """Whether exactly this process lives: same pid, same start, same boot."""
    return boot == processes.boot_id() and processes.start_time(int(process["pid"])) == process["start_time"]


def _marked(folder: Path) -> list[int]:
    """The living processes that carry a job's mark in their environment."""
    mark = str(folder.resolve())
    return [pid for pid in processes.processes() if processes.mark_of(pid) == mark]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

"""A third place in one file: GPU boxes that are reached by ssh and see the lab's folder at the same path.

Copy it into your lab as places/ssh_box.py and set `place = "places/ssh_box.py:box"`; name the box in NAME and HOST.
Jobs run under `nightlab.job` there, so they have what every job has: one run for a key, a lease that the box itself
watches, a lock, an exit file. What this file adds is how they are started, whether they live, and the way to a port.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightlab.compute.folders import FolderJob, folder_name, new_folder, spec_files, starting
from nightlab.compute.place import Job, JobSpec, JobState, stop_each
from nightlab.compute.route import Proof, Route
from nightlab.compute.tunnel import Tunnel, dial
from nightlab.errors import NightlabError, PlaceUnreachable
from nightlab.files import write_atomic
from nightlab.job_folder import EXIT, SPEC, START, STOP
from nightlab.lab import Lab

NAME = "places/ssh_box.py:box"  # as it stands in the setting `place`
HOST = os.environ.get("GPU_BOX", "gpu-box")  # a host of your ssh_config: user, key and ProxyJump stand there
CONFIG = os.environ.get("GPU_BOX_SSH_CONFIG")  # another ssh_config; None: your own
GPUS = 1
PYTHON = sys.executable  # nightlab's Python on the box
LIVES = 'test "$(cut -d" " -f22 /proc/{pid}/stat 2>/dev/null)" = {start_time} && echo lives || echo gone'


def box(lab: Lab) -> Box:
    """The place of a lab: what the setting names."""
    return Box(lab.jobs)


class BoxJob(FolderJob):
    """A job on the box, by its folder; the exit file decides, then whether its process lives there."""

    place = NAME

    @property
    def id(self) -> str:
        """Its name on the box."""
        return self.folder.name

    def state(self) -> JobState:
        """How it stands now."""
        try:
            lives = self._lives()
        except PlaceUnreachable:
            lives = None
        if (end := self.read(EXIT)) is None:
            return "unreachable" if lives is None else "running" if lives else "lost"
        if end["reason"] != "exited":
            return "stopped"
        return "finished" if end["code"] == 0 else "failed"

    def stop(self, grace: float = 5.0) -> None:
        """End it: its wrapper sees stop.json, at latest after five seconds. Raises NightlabError where it does not."""
        write_atomic(self.folder / STOP, json.dumps({"grace": grace}))
        until = time.monotonic() + grace + 30
        while self.state() in ("running", "unreachable"):
            if time.monotonic() > until:
                raise NightlabError(f"job {self.id} on {HOST} does not end", where=self.folder, hint=f"ssh {HOST}")
            time.sleep(0.3)

    def _lives(self) -> bool:
        """Whether exactly its wrapper lives on the box: same pid, same start."""
        start = self.read(START)
        if start is None or (self.folder / EXIT).exists():
            return False
        return ssh(LIVES.format(**start)).strip() == "lives"


class Box:
    """One box as a place; `folder` holds one folder for each job, on the file system that both see."""

    name = NAME
    queues = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def start(self, spec: JobSpec) -> BoxJob:
        """Start a job, or return the one that this key started before."""
        folder = new_folder(self.folder, spec)
        with starting(folder):
            job = BoxJob(folder)
            job.freeze(spec)
            if not any((folder / name).exists() for name in (START, EXIT)):
                job.renew()
                words = [PYTHON, "-P", "-m", "nightlab.job", "--detach", str(folder / SPEC)]
                ssh(f"cd / && {shlex.join(words)}")
        return job

    def start_all(self, specs: Sequence[JobSpec], at_once: int | None = None) -> list[Job]:
        """Start many jobs, all now: a box has no queue."""
        return [self.start(spec) for spec in specs]

    def stop_all(self, jobs: Sequence[Job], grace: float = 5.0) -> None:
        """End many jobs, all at the same time."""
        stop_each(jobs, grace)

    def find(self, key: str) -> BoxJob | None:
        """The job of a key, from any process, or None."""
        folder = self.folder / folder_name(key)
        return BoxJob(folder) if (folder / SPEC).exists() else None

    def jobs(self) -> list[Job]:
        """All jobs of this lab there, oldest first."""
        return [BoxJob(folder) for folder in spec_files(self.folder)]

    def free_port(self) -> int:
        """0: the job picks a port that is free on the box."""
        return 0

    async def reach(self, job: Job, port: int, proves: Proof) -> Route:
        """A tunnel to the box's own loopback, which comes back when it breaks."""
        options = {"config": [CONFIG]} if CONFIG else {}
        return await Tunnel(dial(HOST, **options), port, proves=proves).open()

    def gpus(self, resources: Mapping[str, str], most: int | None = None) -> int:
        """How many GPUs a job holds, for the bill: those that its command can use."""
        return GPUS if most is None else min(GPUS, most)


def ssh(command: str) -> str:
    """What a command on the box prints. Raises PlaceUnreachable where the box does not answer."""
    words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=8", *(["-F", CONFIG] if CONFIG else []), HOST, command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise PlaceUnreachable(f"{HOST} does not answer") from error
    if done.returncode == 255:
        raise PlaceUnreachable(f"{HOST} cannot be reached: {done.stderr.strip()[:200]}")
    if done.returncode:
        raise NightlabError(f"on {HOST}: {done.stderr.strip()[:300]}", where=HOST)
    return done.stdout

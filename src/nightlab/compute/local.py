"""Jobs on this machine: detached processes that outlive their launcher, identified by pid, start time and boot.

A pid alone names nobody: it is used again. Limits: Linux, and a file system with working flock for the job folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightlab import job as wrapper
from nightlab.compute.place import Job, JobSpec, JobState
from nightlab.errors import NightlabError, UsageError
from nightlab.files import sha256_json, sha256_text, storage, write_atomic

WITHHELD = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")  # a job never needs what the brain needs
_STARTING = "starting"
_PATIENCE = 30.0  # seconds that a start, or a stop beyond its grace, may take on a busy machine


class LocalJob:
    """A job on this machine, by its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.log = folder / wrapper.LOG

    def __repr__(self) -> str:
        return f"LocalJob({self.id}, {self.state()})"

    @property
    def spec(self) -> JobSpec:
        """The frozen spec."""
        data = json.loads((self.folder / wrapper.SPEC).read_text(encoding="utf-8"))
        return JobSpec(data["key"], tuple(data["argv"]), data["cwd"], data["env"], data["lease_seconds"])

    @property
    def pid(self) -> int | None:
        """The process around the command, where it lives."""
        start = self._read(wrapper.START)
        return int(start["pid"]) if start and _lives(start, start["boot_id"]) else None

    def state(self) -> JobState:
        """How it stands now: the exit file decides; gone without one is lost."""
        alive = self._alive()
        end = self._read(wrapper.EXIT)  # read after the process: it may end in between
        if end is None:
            return "running" if alive else "lost"
        if end["reason"] != "exited":
            return "stopped"
        return "finished" if end["code"] == 0 else "failed"

    def exit_code(self) -> int | None:
        """The command's exit code, minus the signal that ended it; None while there is none."""
        end = self._read(wrapper.EXIT)
        return None if end is None or end["code"] is None else int(end["code"])

    def reason(self) -> str | None:
        """Why it ended: exited, stopped or lease; None while it has not."""
        end = self._read(wrapper.EXIT)
        return None if end is None else str(end["reason"])

    def wait(self, timeout: float) -> JobState:
        """Block until it runs no longer, at most `timeout` seconds; its state then."""
        deadline = time.monotonic() + timeout
        while (state := self.state()) == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        return state

    def renew(self) -> None:
        """Prolong the lease: its owner is alive."""
        with storage(self.folder):
            (self.folder / wrapper.LEASE).touch()

    def stop(self, grace: float = 5.0) -> None:
        """End every process of it: TERM, then KILL after `grace` seconds. Nothing of it runs when this returns."""
        deadline, told = time.monotonic() + grace + _PATIENCE, False
        while self.state() == "running" and time.monotonic() < deadline:
            if not told and (pid := self.pid) is not None:  # none yet while it is being started
                write_atomic(self.folder / wrapper.STOP, json.dumps({"grace": grace}))
                _signal(pid, signal.SIGTERM)
                told = True
            time.sleep(0.02)
        self._sweep_up()

    def _alive(self) -> bool:
        start = self._read(wrapper.START)
        if start is not None:
            return _lives(start, start["boot_id"])
        return _held(self.folder, _STARTING) or _held(self.folder, wrapper.LOCK)

    def _sweep_up(self) -> None:
        """Kill what still carries the job's mark: a wrapper that hangs, the orphans of one that was killed."""
        deadline = time.monotonic() + _PATIENCE
        while left := _marked(self.folder):
            if time.monotonic() > deadline:
                raise NightlabError(f"processes {left} of job {self.id} cannot be ended", where=self.folder)
            for pid in left:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return dict(data)


class Local:
    """This machine as a place; `folder` holds one folder for each job."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, spec: JobSpec) -> LocalJob:
        """Start a job, or return the one that this key started before; raises UsageError where its spec was another."""
        if not spec.argv:
            raise UsageError("a job needs a command", where=spec.key)
        folder = self.folder / folder_name(spec.key)
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _starting(folder):
            job = LocalJob(folder)
            self._freeze(job, spec)
            if not any((folder / name).exists() for name in (wrapper.START, wrapper.EXIT)):
                job.renew()
                _launch(job)
        return job

    def find(self, key: str) -> LocalJob | None:
        """The job of a key, from any process, or None."""
        folder = self.folder / folder_name(key)
        return LocalJob(folder) if (folder / wrapper.SPEC).exists() else None

    def jobs(self) -> list[Job]:
        """All jobs of this lab here, oldest first."""
        specs = sorted(self.folder.glob(f"*/{wrapper.SPEC}"), key=lambda path: path.stat().st_mtime)
        return [LocalJob(path.parent) for path in specs]

    def free_port(self) -> int:
        """A port that nothing listens on now; another process may take it first."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    async def address(self, job: Job, port: int) -> str:
        """`host:port` by which this process reaches a port of a job."""
        return f"127.0.0.1:{port}"

    @staticmethod
    def _freeze(job: LocalJob, spec: JobSpec) -> None:
        frozen = asdict(spec) | {"argv": list(spec.argv), "env": dict(spec.env)}
        if not (job.folder / wrapper.SPEC).exists():
            write_atomic(job.folder / wrapper.SPEC, json.dumps(frozen, indent=1, ensure_ascii=False))
        elif sha256_json(frozen) != sha256_json(json.loads((job.folder / wrapper.SPEC).read_text(encoding="utf-8"))):
            hint = "a key names one run for ever: use another key for another command"
            raise UsageError(f"job {spec.key!r} was started with another spec", where=job.folder, hint=hint)


def folder_name(key: str) -> str:
    """The folder of a key: readable, unique, and safe as a file name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip("-.")[:60]
    return f"{readable or 'job'}-{sha256_text(key)[:10]}"


def _launch(job: LocalJob) -> None:
    """Start the wrapper and wait until it has written start.json; it goes on by itself."""
    argv = [sys.executable, "-P", "-m", "nightlab.job", "--detach", str(job.folder / wrapper.SPEC)]
    environment = {name: value for name, value in os.environ.items() if name not in WITHHELD}
    environment[wrapper.MARK] = str(job.folder.resolve())
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE)
    if job._read(wrapper.START) is None:
        said = done.stderr.decode(errors="replace")[-500:] or _last_words(job.log)
        raise NightlabError(f"the job did not start: {said.strip()}", where=job.folder)


def _last_words(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-500:] if log.exists() else "no output"


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """One starter at a time."""
    fd = wrapper.lock(str(folder), _STARTING, _PATIENCE)
    if fd is None:
        raise NightlabError("another process has been starting this job for long", where=folder)
    try:
        yield
    finally:
        os.close(fd)


def _held(folder: Path, name: str) -> bool:
    if not (folder / name).exists():
        return False
    fd = wrapper.lock(str(folder), name, 0.0)
    if fd is not None:
        os.close(fd)
    return fd is None


def _lives(process: dict[str, Any], boot: str) -> bool:
    """Whether exactly this process lives: same pid, same start, same boot."""
    return boot == wrapper.boot_id() and wrapper.start_time(int(process["pid"])) == process["start_time"]


def _marked(folder: Path) -> list[int]:
    """The living processes that carry a job's mark in their environment."""
    mark = str(folder.resolve())
    return [pid for pid in wrapper.processes() if wrapper.mark_of(pid) == mark]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

"""The folder of a job, as the process that starts and asks it uses it: frozen spec, start and exit files, lease."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightlab import job_folder
from nightlab.compute.place import OVER, JobSpec, JobState
from nightlab.errors import NightlabError, UsageError
from nightlab.files import now, sha256_text, storage, write_atomic

STARTING = "starting"
PATIENCE = 30.0  # seconds that a start, or a stop beyond its grace, may take on a busy machine
WITHHELD = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")  # a job never needs what the brain needs


class FolderJob(ABC):
    """What every job is by its folder; how it stands is its place's own question."""

    place = ""
    """The name of its place; it stands in the frozen spec, since places share the folder of a lab's jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / job_folder.LOG

    @property
    def spec(self) -> JobSpec:
        """The frozen spec."""
        data = json.loads((self.folder / job_folder.SPEC).read_text(encoding="utf-8"))
        known = {name: value for name, value in data.items() if name in JobSpec.__dataclass_fields__}
        return JobSpec(**known | {"argv": tuple(data["argv"])})

    @abstractmethod
    def state(self) -> JobState:
        """How it stands now."""

    def exit_code(self) -> int | None:
        """The command's exit code, minus the signal that ended it; None while there is none."""
        end = self.read(job_folder.EXIT)
        return None if end is None or end["code"] is None else int(end["code"])

    def reason(self) -> str | None:
        """Why it ended: exited, stopped or lease; None while it has not."""
        end = self.read(job_folder.EXIT)
        return None if end is None else str(end["reason"])

    def port(self) -> int | None:
        """The port that it picked, once it runs; None where it was not asked to."""
        start = self.read(job_folder.START)
        return int(start["port"]) if start and start.get("port") else None

    def began(self) -> float | None:
        """When its command began, in seconds since the epoch; None before."""
        start = self.read(job_folder.START)
        return float(start["t"]) if start else None

    def ended(self) -> float | None:
        """When its command had ended, in seconds since the epoch; None before, and where nobody lived to record it."""
        end = self.read(job_folder.EXIT)
        return float(end["t"]) if end and "t" in end else None

    def wait(self, timeout: float) -> JobState:
        """Block until it is over, at most `timeout` seconds; its state then."""
        deadline = time.monotonic() + timeout
        while (state := self.state()) not in OVER and time.monotonic() < deadline:
            time.sleep(0.02)
        return state

    def renew(self, seconds: float | None = None) -> None:
        """Prolong the lease: its owner is alive. With `seconds` it holds that long from now on."""
        said = {"t": now()} | ({} if seconds is None else {"seconds": seconds})
        write_atomic(self.folder / job_folder.LEASE, json.dumps(said))

    def read(self, name: str) -> dict[str, Any] | None:
        """One of its small files, or None."""
        return read_file(self.folder, name)

    def freeze(self, spec: JobSpec) -> None:
        """Write the spec, once. Raises UsageError where the key has another one."""
        if not (self.folder / job_folder.SPEC).exists():
            frozen = asdict(spec) | {"argv": list(spec.argv), "env": dict(spec.env), "resources": dict(spec.resources)}
            frozen["place"] = self.place
            write_atomic(self.folder / job_folder.SPEC, json.dumps(frozen, indent=1, ensure_ascii=False))
        elif spec != self.spec:
            hint = "a key names one run for ever: use another key for another command"
            raise UsageError(f"job {spec.key!r} was started with another spec", where=self.folder, hint=hint)

    def last_words(self) -> str:
        """The end of its output."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-500:] if self.log.exists() else "no output"


def read_file(folder: Path, name: str) -> dict[str, Any] | None:
    """One of the small files of a job's folder, or None."""
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return dict(data)


def folder_name(key: str) -> str:
    """The folder of a key: readable, unique, and safe as a file name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip("-.")[:60]
    return f"{readable or 'job'}-{sha256_text(key)[:10]}"


def new_folder(jobs: Path, spec: JobSpec) -> Path:
    """Make the folder of a spec's key. Raises UsageError for a spec without a command."""
    if not spec.argv:
        raise UsageError("a job needs a command", where=spec.key)
    folder = jobs / folder_name(spec.key)
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def spec_files(jobs: Path) -> list[Path]:
    """The folders of all jobs, oldest first."""
    found = sorted(jobs.glob(f"*/{job_folder.SPEC}"), key=lambda path: path.stat().st_mtime)
    return [path.parent for path in found]


def environment() -> dict[str, str]:
    """What a job's process inherits: everything but the brain's keys."""
    return {name: value for name, value in os.environ.items() if name not in WITHHELD}


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[None]:
    """One starter at a time."""
    fd = job_folder.lock(str(folder), STARTING, PATIENCE)
    if fd is None:
        raise NightlabError("another process has been starting this job for long", where=folder)
    try:
        yield
    finally:
        os.close(fd)

"""One night per lab: an advisory lock that the kernel frees when its holder dies, however it dies.

A worker that outlives its supervisor holds its lab's lock on; `orphan` finds it, so that another one can take it over.

Limit: flock on a network file system may not reach other hosts; the holder's host is named so that a person can tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from nightlab.errors import LockHeld
from nightlab.files import now, storage
from nightlab.lab import Lab


@dataclass(frozen=True)
class Holder:
    """Who holds a lab's lock, as it said itself; `worker`: a process that a supervisor started for the night."""

    pid: int
    host: str
    night: str
    since: str
    worker: bool = False


class LabLock:
    """The lock of one lab; hold it while anything of the lab is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self, night: str, *, worker: bool = False) -> None:
        """Take the lock for a night. Raises LockHeld naming the holder."""
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise held(self.path, read_holder(self.path)) from None
        self._fd = fd
        self.tell(night, worker=worker)

    @contextlib.contextmanager
    def hold(self, night: str, *, worker: bool = False) -> Iterator[LabLock]:
        """Hold the lock for a night. Raises LockHeld naming the holder."""
        self.acquire(night, worker=worker)
        try:
            yield self
        finally:
            self.release()

    def tell(self, night: str, *, worker: bool = False) -> None:
        """Say for which night this process holds the lock."""
        assert self._fd is not None
        holder = Holder(os.getpid(), socket.gethostname(), night, now(), worker)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(asdict(holder)).encode(), 0)

    def release(self) -> None:
        """Give the lock back; releasing a lock that is not held changes nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def held(path: Path, holder: Holder | None) -> LockHeld:
    """The error that names who runs a night on this lab."""
    if holder is None:
        return LockHeld("another night is starting on this lab", where=path, hint="`nightlab status` shows it")
    return LockHeld(
        f"night {holder.night} runs on this lab: process {holder.pid} on {holder.host}, since {holder.since}",
        where=path,
        hint="`nightlab status` shows it; `nightlab tail` follows it",
    )


def read_holder(path: Path) -> Holder | None:
    """What the lock file says of its holder, dead or alive; None where it says nothing."""
    try:
        data = json.loads(path.read_text("utf-8"))
        worker = data.get("worker") is True
        return Holder(int(data["pid"]), str(data["host"]), str(data["night"]), str(data["since"]), worker)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def living_holder(path: Path) -> Holder | None:
    """The holder of a lock that is held right now, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_holder(path)
    finally:
        os.close(fd)
    return None


def orphan(lab: Lab) -> Holder | None:
    """The worker of a night on this host; it is nobody's where the caller, or no one, holds the supervisor's lock."""
    holder = living_holder(lab.lock)
    return holder if holder and holder.worker and holder.host == socket.gethostname() else None

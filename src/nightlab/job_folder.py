"""The folder of a job, as the process around the job reads and writes it: files, lock, lease.

Only light parts of the standard library are imported: this runs beside every job, on nodes without our packages too.
"""

# ruff: noqa: PTH116, PTH118, PTH123

import fcntl
import json
import os
import time

SPEC, START, EXIT, LEASE, LOG, LOCK, STOP = (
    "spec.json",
    "start.json",
    "exit.json",
    "lease",
    "log.txt",
    "lock",
    "stop.json",
)
CLOCKS = 300.0  # seconds by which the clocks of a cluster may differ: with more Slurm's munge refuses a node
RUN, SUBMITTED = "run.json", "submitted.json"  # which generation may run; which id the queue gave to the job


def write_json(path: str, value: dict[str, object]) -> None:
    """Write a small file as a whole: temporary, fsync, rename."""
    temporary = f"{path}.{os.uname().nodename}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as out:
        json.dump(value, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def read_json(path: str) -> dict[str, object] | None:
    """A small file that is replaced as a whole; None where there is none, or nothing readable."""
    try:
        with open(path, encoding="utf-8") as source:
            data = json.load(source)
    except (OSError, ValueError):  # a shared file system may also be away for a moment
        return None
    return data if isinstance(data, dict) else None


class Lease:
    """The owner's promise to come back: over when its file stayed the same for its length, by this machine's clock.

    Two machines' clocks are never compared, and a suspended machine does not count. The file may name another length.
    """

    def __init__(self, path: str, seconds: float | None) -> None:
        self.path, self.seconds = path, seconds
        self._length = seconds or 0.0
        self._seen: str | None = None
        self._since = time.monotonic()

    def over(self) -> bool:
        """Whether nobody renewed it in time."""
        if self.seconds is None:
            return False
        try:
            with open(self.path, encoding="utf-8") as source:  # opened, not only looked at: NFS asks its server then
                text = source.read()
                seen = f"{text} {os.fstat(source.fileno()).st_mtime_ns}"
        except OSError:  # removed, or the shared file system is away: it is as it was
            return time.monotonic() - self._since > self._length
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
            self._length = _seconds(text) or self.seconds
        return time.monotonic() - self._since > self._length


def abandoned(folder: str, seconds: object) -> bool:
    """Whether the lease of a job was over before its turn, which began when its run.json was written.

    An owner renews what waits, too, so an old file is proof. The nodes of one queue may stamp files by clocks of their
    own, which `CLOCKS` allows for.
    """
    if not isinstance(seconds, (int, float)):
        return False
    try:
        with open(os.path.join(folder, LEASE), encoding="utf-8") as source:
            text, renewed = source.read(), os.fstat(source.fileno()).st_mtime
        began = os.stat(os.path.join(folder, RUN)).st_mtime
    except OSError:  # removed, or the shared file system is away: nothing is proven
        return False
    return began - renewed > (_seconds(text) or seconds) + CLOCKS


def _seconds(text: str) -> float | None:
    """The length that a lease's file names."""
    try:
        return float(json.loads(text)["seconds"])
    except (ValueError, KeyError, TypeError):
        return None


def lock(folder: str, name: str, patience: float) -> int | None:
    """Take an exclusive lock file and keep it until this process ends; None where another one has it."""
    fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(0.01)

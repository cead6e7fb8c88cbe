"""The process around a job: `python -m nightlab.job [--detach] FOLDER/spec.json`.

It runs the command of a frozen spec in a session of its own, output to log.txt, and writes start.json and exit.json by
rename. It ends the command's whole process tree (TERM, grace, KILL) on its own TERM, and when nobody renews the lease:
a job whose owner died stops by itself. It runs a folder's command once: a second start finds the lock and leaves.
Limits: Linux (/proc, prctl); the command dies with a kill -9 of this process, but leaves no exit file then ("lost").
Only light parts of the standard library are imported (no pathlib): it starts beside every job.
"""

# ruff: noqa: PTH110, PTH116, PTH118, PTH120, PTH123, PTH208

import ctypes
import fcntl
import json
import os
import signal
import sys
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
MARK = "JOB_OF_NIGHTLAB"  # in the environment of every process of a job: its folder; not NIGHTLAB_*, a setting
GRACE = 5.0  # seconds between TERM and KILL, unless stop.json says otherwise
_KILLING = 5.0  # seconds that a killed process may take to be gone
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def boot_id() -> str:
    """The identity of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            fields = source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def mark_of(pid: int) -> str | None:
    """The folder of the job that a process belongs to by its environment, or None."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as source:
            entries = source.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = f"{MARK}=".encode()
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)


def processes() -> dict[int, int]:
    """Every living process and its parent."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as source:
                fields = source.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZX":
            found[int(name)] = int(fields[1])
    return found


def tree(root: int, folder: str) -> list[int]:
    """The living processes below one, in whatever group or session, without the jobs that they started themselves."""
    children: dict[int, list[int]] = {}
    for pid, parent in processes().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if mark_of(pid) in (None, folder)]
        found += below
        queue += below
    return found


def write_json(path: str, value: dict[str, object]) -> None:
    """Write a small file as a whole: temporary, fsync, rename."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as out:
        json.dump(value, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


class Wrapper:
    """One run of one spec: the command, its lease, and its end."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(self.path(SPEC), encoding="utf-8") as source:
            self.spec = json.load(source)
        self.lease = self.spec.get("lease_seconds")
        self.child = 0
        self.status: int | None = None
        self.late_since: float | None = None

    def path(self, name: str) -> str:
        """A file of the job."""
        return os.path.join(self.folder, name)

    def run(self, started: int | None) -> None:
        """Run the command to its end and record it; `started` is a pipe that learns when start.json is there."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        began = time.time()
        self.child = self._spawn()
        mine = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
        child = {"pid": self.child, "start_time": start_time(self.child)}
        write_json(self.path(START), {**mine, "child": child, "host": os.uname().nodename, "t": began})
        if started is not None:
            os.close(started)
        reason = self._watch()
        self._end_tree(self._grace())
        seconds = round(time.time() - began, 3)
        write_json(self.path(EXIT), {"code": self._code(), "reason": reason, "seconds": seconds, "t": time.time()})

    def _spawn(self) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            self._become_command(parent)
        except BaseException as error:  # noqa: BLE001 - the forked child must never return into the wrapper
            os.write(2, f"nightlab.job: cannot run {self.spec['argv'][0]!r}: {error}\n".encode())
        os._exit(127)

    def _become_command(self, parent: int) -> None:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)
        log = os.open(self.path(LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(self.spec["cwd"])
        os.execvpe(self.spec["argv"][0], self.spec["argv"], {**os.environ, **self.spec["env"], MARK: self.folder})

    def _watch(self) -> str:
        """Wait for the command's end, for TERM, or for the lease; returns which it was."""
        while True:
            got = signal.sigtimedwait(_SIGNALS, self._look())
            self._reap()
            if self.status is not None:
                return "exited" if not os.path.exists(self.path(STOP)) else "stopped"
            if got is not None and got.si_signo != signal.SIGCHLD:
                return "stopped"
            if self._expired():
                return "lease"

    def _look(self) -> float:
        return 5.0 if self.lease is None else min(5.0, float(self.lease) / 4)

    def _expired(self) -> bool:
        """Too old, and still so one look later: after a suspended machine or a clock jump the owner may still renew."""
        if self.lease is None:
            return False
        try:
            age = time.time() - os.stat(self.path(LEASE)).st_mtime
        except FileNotFoundError:
            age = self.lease + 1
        if age <= self.lease:
            self.late_since = None
        elif self.late_since is None:
            self.late_since = time.monotonic()
        return self.late_since is not None and time.monotonic() - self.late_since >= 0.9 * self._look()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.status = status

    def _end_tree(self, grace: float) -> None:
        """TERM to everything below, after the grace KILL; orphans come back to this process, so none is missed."""
        for pid in tree(os.getpid(), self.folder):
            _send(pid, signal.SIGTERM)
        self._wait_for_tree(grace, None)
        self._wait_for_tree(_KILLING, signal.SIGKILL)

    def _wait_for_tree(self, seconds: float, number: int | None) -> None:
        deadline = time.monotonic() + seconds
        while (left := tree(os.getpid(), self.folder)) and time.monotonic() < deadline:
            for pid in left if number is not None else ():
                _send(pid, number or 0)
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
            self._reap()
        self._reap()

    def _grace(self) -> float:
        try:
            with open(self.path(STOP), encoding="utf-8") as source:
                return float(json.load(source)["grace"])
        except (FileNotFoundError, ValueError, KeyError):
            return GRACE

    def _code(self) -> int | None:
        """The command's exit code; minus the signal that ended it, None where it could not even be ended."""
        return None if self.status is None else os.waitstatus_to_exitcode(self.status)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # gone already, or another user's: the deadline ends the wait
        return


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


def main(arguments: list[str]) -> int:
    """Run a spec; with --detach return as soon as start.json is written, and go on in the background."""
    folder = os.path.dirname(os.path.realpath(arguments[-1]))
    started = None
    if "--detach" in arguments:
        reading, started = os.pipe()
        if os.fork():
            os.close(started)
            os.read(reading, 1)
            return 0
        os.close(reading)
        _leave_the_launcher(folder)
    if os.getpid() != os.getsid(0) and os.getpid() != os.getpgid(0):
        os.setsid()
    if lock(folder, LOCK, 1.0) is None or os.path.exists(os.path.join(folder, START)):
        return 0
    Wrapper(folder).run(started)
    return 0


def _leave_the_launcher(folder: str) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(os.path.join(folder, LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.setsid()
    os.chdir("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process around one sandboxed command: started by `run`, with its order as one JSON line on stdin.

It closes the doors that it is told to close (rlimits, capabilities, Landlock, seccomp), runs the command, watches time,
memory, process count and disk, and ends the whole tree: when the command ends, when a limit is reached, or when stdin
closes because the night is gone. The command writes to this stdout; the report is one JSON line on stderr.
Where it may (as root) it gives the command a process namespace: the kernel then ends the whole tree at once, and no
signal leaves it. bwrap brings its own; elsewhere this is the tree's subreaper and sweeps. Limits: Linux; memory and
process count are looked at every 20 ms, so both can be exceeded for that long. Only light modules are imported;
the few lines that nightlab.job has too (reap, send) stay in both: neither wrapper needs the other.
"""

# ruff: noqa: PTH118, PTH123, PTH208

import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from nightlab.compute.sandbox import doors

TICK = 0.02  # seconds between two looks at the tree
KILLING = 5.0  # seconds that a killed process may take to be gone
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_PAGE = resource.getpagesize()


def children(pid: int) -> list[int]:
    """The children of a process, of any of its threads."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as source:
                found += map(int, source.read().split())
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def tree(root: int) -> list[int]:
    """Every process below one, zombies too, in whatever group or session it is."""
    found: list[int] = []
    queue = [root]
    while queue:
        below = children(queue.pop())
        found += below
        queue += below
    return found


def memory_of(pids: list[int]) -> int:
    """The bytes of private memory that these processes hold: resident pages without those of files."""
    pages = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as source:
                fields = source.read().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pages += int(fields[1]) - int(fields[2])
    return pages * _PAGE


def size_of(folder: str) -> int:
    """The bytes that a folder's files take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


class Keeper:
    """One command from its start until nothing of it is left."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.child = 0
        self.status: int | None = None
        self.peak = 0
        self._disk_at = 0.0
        self._ended: int | None = None

    def run(self) -> dict[str, Any]:
        """Run the command to its end; the report."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        doors.adopt_orphans()
        began = time.monotonic()
        reading, writing = os.pipe()
        self._start(writing)
        os.close(writing)
        refusal = os.read(reading, 4000).decode("utf-8", "replace")  # empty: the doors are closed, and it runs
        killed_by = None if refusal else self._watch(began)
        left = self._end()
        if self._ended is not None:
            said = os.read(self._ended, 20)  # nothing where the namespace was ended from here
            self.status = int(said) if said else self.status
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        seconds = round(time.monotonic() - began, 3)
        report = {"code": code, "killed_by": killed_by, "left": left, "seconds": seconds, "peak": self.peak}
        return report | ({"refusal": refusal} if refusal else {})

    def _start(self, told: int) -> None:
        """Fork the command, below a first process of its own namespace where there is one."""
        if not self.order.get("own_processes"):
            self.child = os.fork()
            if self.child == 0:
                self._become_command(told)
            return
        doors.own_processes()
        self._ended, ended = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            doors.die_with_parent()
            command = os.fork()
            if command == 0:
                self._become_command(told)
            os.close(told)
            _be_first(command, ended)
        os.close(ended)

    def _become_command(self, told: int) -> None:
        try:
            os.setsid()
            doors.die_with_parent()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(1, 2)
            passed = self._close_doors(told)
            os.chdir(self.order["cwd"])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            argv = [word.replace("{filter}", str(passed)) for word in self.order["argv"]]
            os.execvpe(argv[0], argv, self.order["env"])
        except BaseException as error:  # noqa: BLE001 - the forked child must never return into the keeper
            os.write(told, f"{type(error).__name__}: {error}".encode())
        os._exit(127)

    def _close_doors(self, told: int) -> int:
        """Enforce everything that this process enforces itself; the descriptor of the filter that bwrap enforces."""
        order, passed = self.order, -1
        if order.get("bwrap_filter"):
            passed = os.memfd_create("filter", 0)
            os.write(passed, bytes.fromhex(order["bwrap_filter"]))
            os.lseek(passed, 0, os.SEEK_SET)
        kept = {0, 1, 2, told, passed}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in kept:
                try:
                    os.close(int(name))
                except OSError:
                    continue  # the descriptor of the listing itself
        for name, value in order["rlimits"].items():
            number = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(number)[1]
            least = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (least, least))
        if order.get("drop"):
            doors.drop_capabilities()
        if order.get("landlock"):
            doors.landlock(order["landlock"])
        if order.get("filter"):
            doors.seccomp(bytes.fromhex(order["filter"]))
        return passed

    def _watch(self, began: float) -> str | None:
        """Wait for the command's end, a limit, or the owner's; returns what ended it, None for itself."""
        deadline = began + self.order["seconds"]
        while True:
            got = signal.sigtimedwait(_SIGNALS, TICK)
            self._reap()
            if self.status is not None:
                return None
            if (got is not None and got.si_signo != signal.SIGCHLD) or self._owner_gone():
                return "owner"
            if time.monotonic() > deadline:
                return "time"
            if reached := self._reached():
                return reached

    def _owner_gone(self) -> bool:
        ready, _, _ = select.select([0], [], [], 0)
        return bool(ready) and not os.read(0, 4096)

    def _reached(self) -> str | None:
        """The limit that the tree is above now, or None."""
        pids = tree(os.getpid())
        if len(pids) > self.order["processes"]:
            return "processes"
        held = memory_of(pids)
        self.peak = max(self.peak, held)
        if held > self.order["memory"]:
            return "memory"
        return self._disk()

    def _disk(self) -> str | None:
        """Twice a second: the temporary folder above its quota, or the disk below its floor."""
        now = time.monotonic()
        if now < self._disk_at + 0.5:
            return None
        self._disk_at = now
        temporary = self.order.get("tmp")
        if temporary and size_of(temporary) > self.order["tmp_bytes"]:
            return "disk"
        free = os.statvfs(self.order["root"])
        return "disk" if free.f_bavail * free.f_frsize < self.order["least_free"] else None

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

    def _end(self) -> int:
        """End everything below: first the namespace, then what is left. How many processes could not be ended."""
        if self.status is None:
            for pid in (self.child, *children(self.child)):  # bwrap's first process is a child of bwrap
                _send(pid, signal.SIGKILL)
        self._wait_for_first()
        deadline = time.monotonic() + KILLING
        while (left := tree(os.getpid())) and time.monotonic() < deadline:
            for number in (signal.SIGSTOP, signal.SIGKILL):  # what is stopped does not multiply meanwhile
                for pid in left:
                    _send(pid, number)
            self._reap()
            signal.sigtimedwait({signal.SIGCHLD}, 0.002)
        self._reap()
        return len(left)

    def _wait_for_first(self) -> None:
        deadline = time.monotonic() + KILLING
        while self.status is None and time.monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, 0.01)
            self._reap()


def _be_first(command: int, ended: int) -> None:
    """The first process of a namespace: wait for the command, say how it ended, and end everything by leaving."""
    for number in (1, 2):
        os.close(number)
    while True:
        pid, status = os.wait()
        if pid == command:
            os.write(ended, str(status).encode())
            os._exit(0)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # gone already, or another user's: the deadline ends the wait
        return


def _order() -> dict[str, Any]:
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            sys.exit(1)
        text += piece
    order: dict[str, Any] = json.loads(text)
    return order


def main() -> None:
    """Keep one command, report, and take its temporary folder away."""
    order = _order()
    report = Keeper(order).run()
    if order.get("tmp"):
        import shutil

        shutil.rmtree(order["tmp"], ignore_errors=True)
    os.write(2, json.dumps(report).encode() + b"\n")

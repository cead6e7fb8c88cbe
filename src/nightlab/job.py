"""The process around a job: `python -m nightlab.job [--detach] FOLDER/spec.json`.

It runs the command of a frozen spec in a session of its own, output to log.txt, and writes start.json and exit.json by
rename. It ends the command's whole process tree (TERM, grace, KILL) on its own TERM, when stop.json stands in the
folder, when a queue warns that its time is nearly over (USR1), and when nobody renews the lease: a job whose owner
died stops by itself. It runs a folder's command once; a second start finds the lock or the exit file and leaves. Under
a queue that starts a job again (Slurm) every start is a generation: a later one takes over from an earlier one where
the spec allows it (`requeue`). One whose lease was over before its turn came never begins.
Limits: Linux (/proc, prctl); the command dies with a kill -9 of this process, but leaves no exit file then ("lost").
Only light parts of the standard library are imported (no pathlib): it starts beside every job.
"""

# ruff: noqa: PTH110, PTH118, PTH120, PTH123

import ctypes
import json
import os
import signal
import sys
import time

from nightlab.job_folder import (
    EXIT,
    LEASE,
    LOCK,
    LOG,
    RUN,
    SPEC,
    START,
    STOP,
    SUBMITTED,
    Lease,
    abandoned,
    lock,
    read_json,
    write_json,
)
from nightlab.processes import MARK, boot_id, start_time, tree

PORT = "{port}"  # filled in with a free port of the job's own machine, where the spec asks for one
GRACE = 5.0  # seconds between TERM and KILL, unless stop.json says otherwise
TAKE_OVER = 60.0  # seconds that an earlier generation may take to leave
BUSY = 75  # the exit status of a start that found another one at work (EX_TEMPFAIL)
_KILLING = 5.0  # seconds that a killed process may take to be gone
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD}
_SHARE = 0.8  # of the time between a queue's warning and its limit, in which the command may save where it stands
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Wrapper:
    """One run of one spec: the command, its lease, and its end."""

    def __init__(self, folder: str, run: dict[str, object] | None = None, warned: float = 0.0) -> None:
        self.folder, self.generation, self.warned = folder, run, warned
        with open(self.path(SPEC), encoding="utf-8") as source:
            self.spec = json.load(source)
        self.lease = Lease(self.path(LEASE), self.spec.get("lease_seconds"))
        self.argv: list[str] = list(self.spec["argv"])
        self.child = 0
        self.status: int | None = None

    def path(self, name: str) -> str:
        """A file of the job."""
        return os.path.join(self.folder, name)

    def run(self, started: int | None) -> int:
        """Run the command to its end and record it; `started` is a pipe that learns when start.json is there."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # blocked, so that no TERM can cut the exit file short
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        began = time.time()
        port = self._port() if self.spec.get("pick_port") else None
        self.child = self._spawn()
        mine = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
        child = {"pid": self.child, "start_time": start_time(self.child)}
        said = {"run": self.generation, "host": os.uname().nodename, "port": port, "t": began}
        write_json(self.path(START), {**mine, "child": child, **said})
        if started is not None:
            os.close(started)
        reason = self._watch()
        self._end_tree(self._grace(reason))
        if reason != "superseded":
            ended = {"code": self._code(), "reason": reason, "seconds": round(time.time() - began, 3)}
            write_json(self.path(EXIT), {**ended, "run": self.generation, "t": time.time()})
        return _status(self._code(), reason)

    def _port(self) -> int:
        """A free port of this machine, filled into the command; another process may take it first."""
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.argv = [word.replace(PORT, str(port)) for word in self.argv]
        return port

    def _spawn(self) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            self._become_command(parent)
        except BaseException as error:  # noqa: BLE001 - the forked child must never return into the wrapper
            os.write(2, f"nightlab.job: cannot run {self.argv[0]!r}: {error}\n".encode())
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
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(self.spec["cwd"])
        os.execvpe(self.argv[0], self.argv, {**os.environ, **self.spec["env"], MARK: self.folder})

    def _watch(self) -> str:
        """Wait for the command's end, TERM, a warning, stop.json, a later generation or the lease; which it was."""
        while True:
            got = signal.sigtimedwait(_SIGNALS, self._look())
            self._reap()
            warned = got is not None and got.si_signo == signal.SIGUSR1
            told = got is not None and got.si_signo not in (signal.SIGCHLD, signal.SIGUSR1)
            if os.path.exists(self.path(STOP)):
                return "stopped"
            if self.status is not None and not told:
                return "term" if self._told_too() else "exited"
            if warned:
                return "timeout"
            if told:
                return "stopped" if self.generation is None else "term"
            if self.generation is not None and read_json(self.path(RUN)) not in (None, self.generation):
                return "superseded"
            if self.lease.over():
                return "lease"

    def _told_too(self) -> bool:
        """Whether a queue that ends a job told this process, too: it sends TERM to all, and the command died first."""
        if self.generation is None or self.status == 0:
            return False
        return signal.sigtimedwait({signal.SIGTERM}, 0.5) is not None

    def _look(self) -> float:
        """Seconds between two looks."""
        return 5.0 if self.lease.seconds is None else min(5.0, float(self.lease.seconds) / 4)

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

    def _grace(self, reason: str) -> float:
        """Seconds that the command has to end by itself: after a warning most of the time that is left."""
        if reason == "timeout":
            return max(GRACE, _SHARE * self.warned)
        said = (read_json(self.path(STOP)) or {}).get("grace", GRACE)
        return float(said) if isinstance(said, int | float) else GRACE

    def _code(self) -> int | None:
        """The command's exit code; minus the signal that ended it, None where it could not even be ended."""
        return None if self.status is None else os.waitstatus_to_exitcode(self.status)


def _status(code: int | None, reason: str) -> int:
    """What a queue is told: the command's own status, and never success for what was ended from outside."""
    status = 1 if code is None else code if code >= 0 else 128 - code
    return status if reason == "exited" else status or BUSY


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # gone already, or another user's: the deadline ends the wait
        return


def generation() -> dict[str, object] | None:
    """Which start of which job of the queue this is; None where no queue started it."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ.get("SLURM_JOB_ID"))
    if job is None:
        return None
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    return {"id": job if task is None else f"{job}_{task}", "restart": restart, "node": os.environ["SLURMD_NODENAME"]}


def claim(folder: str, run: dict[str, object]) -> int | None:
    """Whether this generation may run: None for yes, else the exit status to leave with.

    It may not where the key was submitted as another job, the command ran to its end, or somebody stopped it; nor
    where it ran before and must not run again, or its lease was over while it waited. An earlier generation that still
    runs ends itself first.
    """
    submitted = read_json(os.path.join(folder, SUBMITTED))
    if submitted is not None and submitted["id"] != run["id"]:
        return 0
    ended, start = read_json(os.path.join(folder, EXIT)), os.path.join(folder, START)
    if os.path.exists(os.path.join(folder, STOP)) or (ended is not None and ended["reason"] != "term"):
        return 0
    spec = read_json(os.path.join(folder, SPEC)) or {}
    if not spec.get("requeue") and (ended is not None or os.path.exists(start)):
        return 0
    write_json(os.path.join(folder, RUN), run)
    if lock(folder, LOCK, TAKE_OVER) is None:
        return BUSY
    for name in (EXIT, START):
        if os.path.exists(os.path.join(folder, name)):
            os.replace(os.path.join(folder, name), os.path.join(folder, f"{name}.before-{run['restart']}"))
    if abandoned(folder, spec.get("lease_seconds")):
        ended = {"code": None, "reason": "lease", "seconds": 0.0, "run": run, "t": time.time()}
        write_json(os.path.join(folder, EXIT), ended)
        return BUSY
    return None


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
    run = generation() if "--queued" in arguments else None
    if run is not None:
        warned = next((float(word.partition("=")[2]) for word in arguments if word.startswith("--warned=")), 0.0)
        return Wrapper(folder, run, warned).run(None) if (leave := claim(folder, run)) is None else leave
    if os.getpid() != os.getsid(0) and os.getpid() != os.getpgid(0):
        os.setsid()
    if lock(folder, LOCK, 1.0) is None or os.path.exists(os.path.join(folder, START)):
        return 0
    return Wrapper(folder).run(started)


def _leave_the_launcher(folder: str) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(os.path.join(folder, LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.setsid()
    os.chdir("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

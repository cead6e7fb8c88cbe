"""What Slurm says: its commands with a time limit each, one look at the queue for all jobs, and text instead of JSON.

Only texts that every version prints are read (`squeue -o`, `sacct -P`, `scontrol -o`): Slurm's JSON changes with its
versions and ignores filters in some. "The controller cannot be reached" is never "the job is gone". Accounting is
optional: without it, a job that the queue has forgotten is unknown, and its exit file decides.
"""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightlab.compute.folders import environment
from nightlab.errors import NightlabError, NotSetUp, PlaceUnreachable

TIMEOUT = 10.0  # seconds that a question may take; a client whose controller is away takes longer to say so
SUBMIT_TIMEOUT = 60.0
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "SUSPENDED", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"})
ALIVE = WAITING | RUNNING
ACCOUNTED = "JobID,State,ExitCode,NodeList,JobName"
UNNAMED = "allocation"  # how the accounting calls a job in its first seconds
LATE = 60.0  # seconds by which the accounting may lag behind the queue
FRESH = 1.0  # seconds for which a look at the queue, or its failure, answers for all jobs
LARGEST_ARRAY = 1000  # tasks, where Slurm does not tell: one less than its own default
NEEDED = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_AWAY = re.compile(
    r"Unable to contact slurm controller|Connection (?:refused|reset|timed out)|Socket timed out|"
    r"communication|Zero Bytes were transmitted|Transport endpoint|in (?:standby|startup) mode|munge",
    re.IGNORECASE,
)
_GONE = re.compile(r"Invalid job id|job.*already (?:completing|completed)", re.IGNORECASE)
INSTALL = "on Debian and Ubuntu: apt-get install slurm-client; on a cluster: module load slurm"


@dataclass(frozen=True)
class Row:
    """A job as the queue shows it."""

    id: str
    state: str
    why: str
    node: str
    name: str


class SlurmQueue:
    """The queue as this user sees it; shared by all jobs of a process, from any thread."""

    def __init__(self, patience: float = TIMEOUT) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._looked = float("-inf")
        self._away: PlaceUnreachable | None = None
        self._over: dict[str, Row] = {}
        self._late: dict[str, float] = {}
        self._accounting = True
        self._largest: int | None = None

    def row(self, job: str, name: str, fresh: float = FRESH) -> Row | None:
        """How a job stands in the queue, else the accounting; None where nobody knows it. Raises PlaceUnreachable.

        A look that is at most `fresh` seconds old answers. A row of another name is another job: a controller that lost
        its memory gives its numbers again.
        """
        found = self._queued(fresh).get(job) or self._ended(job)
        return found if found is not None and found.name in (name, UNNAMED) else None

    def _ended(self, job: str) -> Row | None:
        """A job that the queue has forgotten, as the accounting has it.

        One that the accounting thinks alive went with the controller's memory, unless the accounting is merely late.
        """
        with self._lock:
            if job in self._over:
                return self._over[job]
            found = accounted(self._accounted(("-j", job.split("_")[0])), job)
            if found is None:
                return None
            if found.state in ALIVE:
                since = self._late.setdefault(job, time.monotonic())
                return found if time.monotonic() - since < LATE else None
            self._over[job] = found
            return found

    def named(self, name: str) -> str | None:
        """The newest job with this name, from the queue or the accounting. Raises PlaceUnreachable."""
        rows = [row for row in self._look().values() if row.name == name]
        rows = rows or self._accounted(("--name", name, "-S", "now-7days"))
        return max(rows, key=lambda row: _number(row.id)).id.split("_")[0] if rows else None

    def forget(self) -> None:
        """Look again at the next question: something was submitted or ended."""
        self._looked = float("-inf")

    def submit(self, words: Sequence[str]) -> str:
        """Hand a job in; its id. Raises PlaceUnreachable where it may or may not have been taken, NightlabError."""
        try:
            done = run("sbatch", "--parsable", *words, timeout=SUBMIT_TIMEOUT)
        finally:
            self.forget()
        if done.returncode:
            said = " ".join(done.stderr.split())[:400]
            raise NightlabError(f"Slurm refused the job: {said}", hint="`nightlab doctor` checks the lab's settings")
        return done.stdout.strip().split(";")[0]

    def cancel(self, *jobs: str) -> None:
        """End jobs wherever they stand; one that is gone is no error. Raises PlaceUnreachable, NightlabError."""
        if not jobs:
            return
        done = run("scancel", *jobs, timeout=self.patience)
        self.forget()
        if done.returncode and not _GONE.search(done.stderr):
            shown = jobs[0] if len(jobs) == 1 else f"{jobs[0]} and {len(jobs) - 1} more"
            raise NightlabError(f"Slurm did not cancel job {shown}: {done.stderr.strip()[:300]}")

    def largest_array(self) -> int:
        """How many tasks an array may have. Raises PlaceUnreachable."""
        if self._largest is None:
            found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run("scontrol", "show", "config").stdout, re.MULTILINE)
            self._largest = max(1, int(found[1])) if found else LARGEST_ARRAY
        return self._largest

    def _queued(self, fresh: float) -> dict[str, Row]:
        with self._lock:
            if time.monotonic() - self._looked <= fresh:
                if self._away is not None:
                    raise self._away
                return self._rows
            try:
                self._rows, self._away = self._look(), None
            except PlaceUnreachable as error:
                self._away = error
                raise
            finally:
                self._looked = time.monotonic()
            return self._rows

    def _look(self) -> dict[str, Row]:
        """One question for all jobs of the user, tasks of arrays one by one."""
        words = ("squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r|%N|%j")
        done = run(*words, timeout=self.patience)
        if done.returncode:
            raise PlaceUnreachable(done.stderr.strip()[:300] or "squeue failed")
        return {row.id: row for row in rows_of(done.stdout)}

    def _accounted(self, which: Sequence[str]) -> list[Row]:
        """What sacct knows; nothing where there is no accounting. Raises PlaceUnreachable where it does not answer."""
        if not self._accounting or shutil.which("sacct") is None:
            return []
        done = run("sacct", "-n", "-X", "-P", *which, "-o", ACCOUNTED, timeout=self.patience)
        self._accounting = "accounting storage is disabled" not in done.stderr
        return rows_of(done.stdout) if done.returncode == 0 else []


def accounted(rows: Iterable[Row], job: str) -> Row | None:
    """The newest row of a job; tasks of an array that were never started share one, such as 16_[2-5%2]."""
    number, _, task = job.partition("_")
    mine = [row for row in rows if row.id == job or (task.isdigit() and _holds(row.id, number, int(task)))]
    return mine[-1] if mine else None


def _holds(shown: str, number: str, task: int) -> bool:
    """Whether an id of several tasks is one of an array, with this task among them."""
    found = re.fullmatch(rf"{number}_\[([\d,:-]+)(?:%\d+)?\]", shown)
    for part in found[1].split(",") if found else ():
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        if task in range(int(first), int(last or first) + 1, int(step or 1)):
            return True
    return False


def run(*words: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """One command of Slurm. Raises PlaceUnreachable where it or its controller does not answer, NotSetUp."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=timeout, env=environment()
        )
    except FileNotFoundError as error:
        raise NotSetUp(f"{words[0]} is not there: no Slurm on this machine", hint=INSTALL) from error
    except subprocess.TimeoutExpired as error:
        raise PlaceUnreachable(f"{words[0]} did not answer within {timeout:g} s") from error
    if done.returncode and _AWAY.search(done.stderr):
        raise PlaceUnreachable(" ".join(done.stderr.split())[:300])
    return done


def node_address(node: str) -> str:
    """The address under which the controller knows a node, else its name."""
    done = run("scontrol", "show", "node", node, "-o")
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    return found[1] if found else node


def rows_of(text: str) -> list[Row]:
    """The rows that squeue or sacct printed."""
    lines = [line.split("|", 4) for line in text.splitlines()]
    return [
        Row(parts[0], parts[1].split()[0].rstrip("+") if parts[1] else "", *parts[2:])
        for parts in lines
        if len(parts) == 5
    ]


def _number(job: str) -> int:
    return int(job.split("_")[0]) if job.split("_")[0].isdigit() else 0

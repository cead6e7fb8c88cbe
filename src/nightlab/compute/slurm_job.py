"""A job of Slurm, by its folder: the exit file decides how it ended, then the queue, then the accounting.

Its name in Slurm is its key, or that of its array; which one stands in its folder before it is submitted, so a process
that was killed between `sbatch` and writing down the number finds it again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightlab import job_folder
from nightlab.compute.folders import PATIENCE, FolderJob
from nightlab.compute.place import NEVER_STARTED, JobState
from nightlab.compute.slurm_queue import ALIVE, FRESH, RUNNING, WAITING, Row, SlurmQueue
from nightlab.errors import NightlabError, PlaceUnreachable
from nightlab.files import sha256_text, write_atomic

_ARRAY = "array.json"  # the name of the array that a job is submitted with, and which of its tasks it is
_PAUSE = 0.2  # seconds between two looks at a job that is to end
_LET_GO = 20.0  # seconds between scancel and the end of the last process, beyond the grace
_ENDS: Mapping[str, tuple[JobState, str]] = {
    "CANCELLED": ("stopped", "cancelled"),
    "TIMEOUT": ("stopped", "timeout"),
    "DEADLINE": ("stopped", "timeout"),
    "PREEMPTED": ("stopped", "preempted"),
    "REVOKED": ("stopped", "cancelled"),
    "NODE_FAIL": ("lost", "node_fail"),
    "BOOT_FAIL": ("lost", "node_fail"),
    "OUT_OF_MEMORY": ("failed", "out_of_memory"),
    "REQUEUE_HOLD": ("lost", "held"),
}


class SlurmJob(FolderJob):
    """A job of Slurm, by its folder."""

    place = "slurm"

    def __init__(self, folder: Path, queue: SlurmQueue) -> None:
        super().__init__(folder)
        self._queue = queue

    def __repr__(self) -> str:
        return f"SlurmJob({self.id}, {self.folder.name})"

    @property
    def id(self) -> str:
        """Its number in Slurm, of a task of an array as 12_3; empty before it was submitted."""
        said = self.read(job_folder.SUBMITTED)
        return str(said["id"]) if said else ""

    def state(self) -> JobState:
        """How it stands now; asks Slurm, at most once a second for all jobs."""
        return self._verdict()[0]

    def reason(self) -> str | None:
        """Why it ended or waits: exited, stopped, lease, cancelled, timeout, preempted, node_fail, held, ..."""
        return self._verdict()[1]

    def stop(self, grace: float = 5.0) -> None:
        """End every process of it; on a node that is cut off, stop.json ends them when it sees the folder again.

        Raises NightlabError where Slurm still shows it after the grace and a while.
        """
        self.ask_to_stop(grace)
        end = self.read(job_folder.EXIT)
        if not self.id or (end is not None and _final(end)):
            return  # its wrapper ended everything before it said so, and lets no later start of it run
        until = time.monotonic() + grace + _LET_GO + PATIENCE
        told = False
        while not self._gone():
            if not told:
                told = self._cancel()
            if time.monotonic() > until:
                what = f"Slurm job {self.id} does not end: its node or the controller cannot be reached"
                hint = f"scancel {self.id}; its lease ends it, too"
                raise NightlabError(what, where=self.folder, hint=hint)
            time.sleep(_PAUSE)

    def ask_to_stop(self, grace: float) -> None:
        """Write down that it is to end: its wrapper sees that within seconds, and one that waits is never run."""
        write_atomic(self.folder / job_folder.STOP, json.dumps({"grace": grace}))

    def submitted(self, number: str) -> None:
        """Write down the number that Slurm gave to it."""
        write_atomic(self.folder / job_folder.SUBMITTED, json.dumps({"id": number, "t": time.time()}))

    def joins(self, array: str, index: int) -> None:
        """Write down, before an array is submitted, that it is this task of it."""
        write_atomic(self.folder / _ARRAY, json.dumps({"name": array, "index": index}))

    def row(self, fresh: float = FRESH) -> Row | None:
        """How Slurm shows it; None where it does not know it, or not any more. Raises PlaceUnreachable."""
        array = self.read(_ARRAY) if "_" in self.id else None
        return self._queue.row(self.id, name_of([self.folder]) if array is None else str(array["name"]), fresh)

    def find_number(self) -> str:
        """Its number, found by its name where it was not written down; empty where Slurm never took it.

        Raises PlaceUnreachable.
        """
        if self.id:
            return self.id
        array = self.read(_ARRAY)
        if array is not None and (number := self._queue.named(array["name"])):
            self.submitted(f"{number}_{array['index']}")
        elif number := self._queue.named(name_of([self.folder])):
            self.submitted(number)
        return self.id

    def _cancel(self) -> bool:
        try:
            self._queue.cancel(self.id)
        except PlaceUnreachable:
            return False  # stop.json ends it by itself meanwhile
        return True

    def queued(self) -> bool:
        """Whether it waits or runs, as far as Slurm knows. Raises PlaceUnreachable."""
        row = self.row(_PAUSE) if self.id else None
        return row is not None and row.state in ALIVE

    def _gone(self) -> bool:
        """Whether nothing of it runs: its wrapper said so, or Slurm does of one that was never started."""
        end = self.read(job_folder.EXIT)
        try:
            return not self.queued()
        except PlaceUnreachable:
            return end is not None

    def _verdict(self) -> tuple[JobState, str | None]:
        end = self.read(job_folder.EXIT)
        if end is not None and (final := _final(end)):
            return final
        try:
            if not self.find_number():
                return "lost", NEVER_STARTED
            row = self.row()
        except PlaceUnreachable as error:
            return "unreachable", str(error)
        if (end := self.read(job_folder.EXIT)) is not None and (final := _final(end)):
            return final  # it ended between the two looks
        return standing(row, ended=end is not None)


def name_of(folders: Sequence[Path]) -> str:
    """The key as a job's name, and which lab it is of: two labs of one user may have the same key."""
    first, lab = folders[0].name, str(folders[0].parent)
    if len(folders) == 1:
        return f"{first}-{sha256_text(lab)[:6]}"
    every = " ".join(folder.name for folder in folders)
    return f"{first}-x{len(folders)}-{sha256_text(f'{lab} {every}')[:6]}"


def _final(end: Mapping[str, object]) -> tuple[JobState, str] | None:
    """What an exit file decides; None where the job was told to go, and Slurm knows why and whether it comes back."""
    reason = str(end["reason"])
    if reason == "exited":
        return ("finished" if end["code"] == 0 else "failed"), reason
    return None if reason == "term" else ("stopped", reason)


def standing(row: Row | None, *, ended: bool) -> tuple[JobState, str | None]:
    """How a job without a deciding exit file stands, from its row."""
    if row is None:
        return ("stopped", "term") if ended else ("lost", "unknown to Slurm")
    if row.state == "PENDING" and "held" in row.why.lower():
        return "lost", f"held: {row.why}"
    if row.state in WAITING:
        return "queued", row.why
    if row.state in RUNNING:
        return "running", None
    state, reason = _ENDS.get(row.state, ("lost", row.state.lower()))
    return ("stopped" if ended and state == "lost" and reason != "node_fail" else state), reason

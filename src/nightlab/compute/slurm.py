"""Jobs on a Slurm cluster: each a batch script that runs `nightlab.job` on a frozen spec, on a shared file system.

The job's name is its key: a process that was killed between `sbatch` and writing down the id finds it again. The
wrapper on the node holds the lease, the lock and the exit file: a job that Slurm runs twice does no harm, a node that
is cut off frees its GPU when nobody renews the lease, and `stop` reaches a job whose controller is away.
Limits: the lab, its virtual environment and the adapters stand on a file system that the nodes share, with flock.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nightlab
from nightlab import job_folder
from nightlab.compute import slurm_queue
from nightlab.compute.folders import PATIENCE, FolderJob, folder_name, new_folder, spec_files, starting
from nightlab.compute.place import NEVER_STARTED, Job, JobSpec, JobState
from nightlab.compute.reach import Far, Ways, reach
from nightlab.compute.route import Proof, Route
from nightlab.compute.slurm_queue import ALIVE, RUNNING, WAITING, Row, SlurmQueue
from nightlab.errors import NightlabError, PlaceUnreachable, UsageError
from nightlab.files import sha256_text, write_atomic

OPTIONS = ("partition", "account", "qos", "gres", "time")  # words of `resources` that are flags of sbatch
SCRIPT = """#!/bin/bash
# A job of nightlab: {key}
exec {python} -I -S -c {start} --queued {spec}
"""
# The wrapper needs only the standard library and this package's folder; it blocks TERM while it writes the exit file.
_START = "import sys; sys.path.insert(0, {root!r}); from nightlab.job import main; sys.exit(main(sys.argv[1:]))"
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
KEYS = "tunnel_keys"  # beside the folder of the jobs
NODE_LOOKS, NODE_PAUSE = 40, 0.5  # until the queue tells the node of a job that runs
_LET_GO = 20.0  # seconds between scancel and the end of the last process, beyond the grace


class SlurmJob(FolderJob):
    """A job of Slurm, by its folder; the exit file decides, then the queue, then the accounting."""

    place = "slurm"

    def __init__(self, folder: Path, queue: SlurmQueue) -> None:
        super().__init__(folder)
        self._queue = queue

    def __repr__(self) -> str:
        return f"SlurmJob({self.id}, {self.folder.name})"

    @property
    def id(self) -> str:
        """Its number in Slurm; empty before it was submitted."""
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
        write_atomic(self.folder / job_folder.STOP, json.dumps({"grace": grace}))
        if not self.id:
            return
        until = time.monotonic() + grace + _LET_GO + PATIENCE
        told = False
        while not self._gone():
            if not told:
                told = self._cancel()
            if time.monotonic() > until:
                what = f"Slurm job {self.id} does not end: its node or the controller cannot be reached"
                hint = f"scancel {self.id}; its lease ends it, too"
                raise NightlabError(what, where=self.folder, hint=hint)
            time.sleep(0.2)

    def submitted(self, number: str) -> None:
        """Write down the number that Slurm gave to it."""
        write_atomic(self.folder / job_folder.SUBMITTED, json.dumps({"id": number, "t": time.time()}))

    def _cancel(self) -> bool:
        try:
            self._queue.cancel(self.id)
        except PlaceUnreachable:
            return False  # stop.json ends it by itself meanwhile
        return True

    def _gone(self) -> bool:
        """Whether nothing of it runs: its wrapper said so, or Slurm does of one that was never started."""
        end = self.read(job_folder.EXIT)
        try:
            self._queue.forget()
            row = self._queue.row(self.id)
        except PlaceUnreachable:
            return end is not None
        if row is None:
            return True
        return row.state not in ALIVE

    def _verdict(self) -> tuple[JobState, str | None]:
        end = self.read(job_folder.EXIT)
        if end is not None and (final := _final(end)):
            return final
        try:
            if not self.id and (number := self._queue.named(name_of([self.folder]))):
                self.submitted(number)  # its launcher was killed before it wrote the number down
            if not self.id:
                return "lost", NEVER_STARTED
            row = self._queue.row(self.id)
        except PlaceUnreachable as error:
            return "unreachable", str(error)
        if (end := self.read(job_folder.EXIT)) is not None and (final := _final(end)):
            return final  # it ended between the two looks
        return _as_queued(row, ended=end is not None)


class Slurm:
    """A cluster as a place; `folder` holds one folder for each job, on the shared file system.

    `resources` are asked for every job, those of a spec win; `python` runs the wrapper on the node (3.11 or newer);
    `ways` lead to servers on the nodes. Places that share a `queue` look at it once for all.
    """

    name = "slurm"

    def __init__(
        self,
        folder: Path,
        resources: Mapping[str, str] | None = None,
        python: str = sys.executable,
        queue: SlurmQueue | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.resources = {name: value for name, value in (resources or {}).items() if value}
        self.python = python
        self.ways = ways or Ways()
        self.queue = queue or SlurmQueue()

    def start(self, spec: JobSpec) -> SlurmJob:
        """Submit a job, or return the one that this key submitted before.

        Raises UsageError where its spec was another, PlaceUnreachable where Slurm does not answer, NightlabError.
        """
        folder = new_folder(self.folder, spec)
        with starting(folder):
            job = SlurmJob(folder, self.queue)
            job.freeze(spec)
            if not job.id:
                job.renew()
                self._submit([job], self._words(spec), None)
        return job

    def start_all(self, specs: Sequence[JobSpec], at_once: int | None = None) -> list[Job]:
        """Submit jobs that ask for the same as one array, of which at most `at_once` run side by side."""
        jobs = [SlurmJob(new_folder(self.folder, spec), self.queue) for spec in specs]
        if len(jobs) < 2 or len({tuple(self._words(spec)) for spec in specs}) > 1 or any(job.id for job in jobs):
            return [self.start(spec) for spec in specs]
        for job, spec in zip(jobs, specs, strict=True):
            job.freeze(spec)
            job.renew()
        with starting(jobs[0].folder):
            self._submit(jobs, self._words(specs[0]), at_once)
        return list(jobs)

    def find(self, key: str) -> SlurmJob | None:
        """The job of a key, from any process, or None."""
        folder = self.folder / folder_name(key)
        return SlurmJob(folder, self.queue) if (folder / job_folder.SPEC).exists() else None

    def jobs(self) -> list[Job]:
        """All jobs of this lab here, oldest first."""
        return [SlurmJob(folder, self.queue) for folder in spec_files(self.folder)]

    def free_port(self) -> int:
        """0: which ports of a node are free is known there alone, so the job picks one."""
        return 0

    async def reach(self, job: Job, port: int, proves: Proof) -> Route:
        """The first way to the job's node at whose end the right server answers. Raises NightlabError."""
        for _ in range(NODE_LOOKS):
            row = await asyncio.to_thread(self.queue.row, job.id)
            if row is None or row.node:
                break
            await asyncio.sleep(NODE_PAUSE)  # the job has begun already, and the queue has not told its node yet
        if row is None or not row.node or "[" in row.node or "," in row.node:
            raise NightlabError(f"Slurm job {job.id} has no single node", where=job.folder)
        address = await asyncio.to_thread(slurm_queue.node_address, row.node)
        return await reach(Far(job.id, row.node, address, port, self.folder.parent / KEYS), self.ways, proves)

    def gpus(self, resources: Mapping[str, str]) -> int:
        """How many GPUs a job with these resources holds, from its gres and flags."""
        asked = {**self.resources, **resources}
        words = [*asked.get("gres", "").split(","), *asked.get("flags", "").split()]
        found = [
            re.fullmatch(r"(?:--gres=)?gpu(?::[A-Za-z]\w*)?(?::(\d+))?|--gpus(?:-per-node)?=(\d+)", w) for w in words
        ]
        return sum(int(one[1] or one[2] or 1) for one in found if one)

    def words(self, resources: Mapping[str, str]) -> list[str]:
        """The flags of sbatch for what is asked, and for what the lab asks always. Raises UsageError."""
        asked = {**self.resources, **resources}
        if unknown := set(asked) - {*OPTIONS, "flags"}:
            known = ", ".join((*OPTIONS, "flags"))
            raise UsageError(f"Slurm has no resource {sorted(unknown)[0]!r}", hint=f"known: {known}")
        flags = [f"--{name}={asked[name]}" for name in OPTIONS if asked.get(name)]
        return [*flags, *shlex.split(asked.get("flags", ""))]

    def _words(self, spec: JobSpec) -> list[str]:
        return ["--requeue" if spec.requeue else "--no-requeue", *self.words(spec.resources)]

    def _submit(self, jobs: list[SlurmJob], words: Sequence[str], at_once: int | None) -> None:
        """Hand in one job, or several as an array, unless a killed process has already done so."""
        name = name_of([job.folder for job in jobs])
        number = self.queue.named(name) or self._hand_in(jobs, name, words, at_once)
        for index, job in enumerate(jobs):
            job.submitted(number if len(jobs) == 1 else f"{number}_{index}")

    def _hand_in(self, jobs: list[SlurmJob], name: str, words: Sequence[str], at_once: int | None) -> str:
        folder = jobs[0].folder
        specs = [shlex.quote(str(job.folder / job_folder.SPEC)) for job in jobs]
        array: list[str] = []
        spec, output = specs[0], folder / job_folder.LOG
        if len(jobs) > 1:
            array = [f"--array=0-{len(jobs) - 1}" + (f"%{at_once}" if at_once else "")]
            spec, output = '"${specs[$SLURM_ARRAY_TASK_ID]}"', folder / "slurm-%a.txt"
        start = shlex.quote(_START.format(root=str(Path(nightlab.__file__).resolve().parents[1])))
        text = SCRIPT.format(key=jobs[0].spec.key, python=shlex.quote(self.python), start=start, spec=spec)
        if len(jobs) > 1:
            text = text.replace("exec ", f"specs=({' '.join(specs)})\nexec ", 1)
        script = folder / "job.sh"
        write_atomic(script, text)
        named = [
            f"--job-name={name}",
            f"--output={str(output).replace('%', '%%') if len(jobs) == 1 else output}",
            "--open-mode=append",
            f"--chdir={folder}",
        ]
        return self.queue.submit([*named, *array, *words, str(script)])


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


def _as_queued(row: Row | None, *, ended: bool) -> tuple[JobState, str | None]:
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

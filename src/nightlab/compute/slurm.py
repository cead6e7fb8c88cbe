"""Jobs on a Slurm cluster: each a batch script that runs `nightlab.job` on a frozen spec, on a shared file system.

The job's name is its key: a process that was killed between `sbatch` and writing down the id finds it again. The
wrapper on the node holds the lease, the lock and the exit file: a job that Slurm runs twice does no harm, a node that
is cut off frees its GPU when nobody renews the lease, and `stop` reaches a job whose controller is away.
Limits: the lab, its virtual environment and the adapters stand on a file system that the nodes share, with flock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nightlab
from nightlab import job_folder
from nightlab.compute import slurm_queue
from nightlab.compute.folders import folder_name, new_folder, spec_files, starting
from nightlab.compute.place import OVER, Job, JobSpec
from nightlab.compute.reach import Far, Ways, reach
from nightlab.compute.route import Proof, Route
from nightlab.compute.slurm_job import SlurmJob, name_of
from nightlab.compute.slurm_queue import SlurmQueue
from nightlab.errors import NightlabError, PlaceUnreachable, UsageError
from nightlab.files import write_atomic

OPTIONS = ("partition", "account", "qos", "gres", "time")  # words of `resources` that are flags of sbatch
SCRIPT = """#!/bin/bash
# A job of nightlab: {key}
{tasks}exec {python} -I -S -c {start} --queued --warned={warning} {spec}
"""
# The wrapper needs only the standard library and this package's folder; it blocks TERM while it writes the exit file.
_START = "import sys; sys.path.insert(0, {root!r}); from nightlab.job import main; sys.exit(main(sys.argv[1:]))"
_GRES = re.compile(r"(?:gres[:/])?gpu(?::[^:]*[^:\d][^:]*)?(?::(\d+))?")  # gpu, gpu:2, gpu:a100, gpu:1g.10gb:1
_COUNT = re.compile(r"(?:[^:]+:)?(\d+)")  # 2, h100:2
KEYS = "tunnel_keys"  # beside the folder of the jobs
NODE_LOOKS, NODE_PAUSE = 40, 0.5  # until the queue tells the node of a job that runs


class Slurm:
    """A cluster as a place; `folder` holds one folder for each job, on the shared file system.

    `resources` are asked for every job, those of a spec win; `python` runs the wrapper on the node (3.11 or newer);
    `ways` lead to servers on the nodes. Places that share a `queue` look at it once for all. A job that can go on where
    it stopped is told `warning` seconds before its time is over (0: it is not).
    """

    name = "slurm"
    queues = True

    def __init__(
        self,
        folder: Path,
        resources: Mapping[str, str] | None = None,
        python: str = sys.executable,
        queue: SlurmQueue | None = None,
        ways: Ways | None = None,
        warning: int = 0,
    ) -> None:
        self.folder = folder.resolve()
        self.resources = {name: value for name, value in (resources or {}).items() if value}
        self.python = python
        self.ways = ways or Ways()
        self.queue = queue or SlurmQueue()
        self.warning = warning

    def start(self, spec: JobSpec) -> SlurmJob:
        """Submit a job, or return the one that this key submitted before.

        Raises UsageError where its spec was another, PlaceUnreachable where Slurm does not answer, NightlabError.
        """
        folder = new_folder(self.folder, spec)
        with starting(folder):
            job, number = self._frozen(spec)
            if not number:
                self._submit([job], self._words(spec))
        return job

    def start_all(self, specs: Sequence[JobSpec], at_once: int | None = None) -> list[Job]:
        """Submit jobs that ask for the same as one array, of which at most `at_once` run side by side.

        Those that were submitted before are returned as they are. What is more than an array may hold becomes further
        ones, each after the one before where `at_once` is given, and after those that still wait or run. Raises what
        `start` raises.
        """
        if not specs:
            return []
        for spec in specs:
            new_folder(self.folder, spec)
        with starting(self.folder):
            found = [self._frozen(spec) for spec in specs]
            alike: dict[tuple[str, ...], list[SlurmJob]] = {}
            for spec, (job, number) in zip(specs, found, strict=True):
                if not number:
                    alike.setdefault(tuple(self._words(spec)), []).append(job)
            limited = at_once if alike else None
            before = {job.id.split("_")[0] for job, number in found if limited and number and job.state() not in OVER}
            for words, jobs in alike.items():
                self._submit_many(jobs, words, at_once, ":".join(sorted(before)))
        return [job for job, _ in found]

    def stop_all(self, jobs: Sequence[Job], grace: float = 5.0) -> None:
        """End jobs and tasks of arrays, all at the same time. Raises NightlabError where one does not end."""
        mine = [SlurmJob(job.folder, self.queue) for job in jobs]
        for job in mine:
            job.ask_to_stop(grace)
        with contextlib.suppress(PlaceUnreachable):  # each sees its stop.json by itself
            self.queue.cancel(*(job.id for job in mine if job.queued()))
        for job in mine:
            job.stop(grace)

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
        mine = SlurmJob(job.folder, self.queue)
        for _ in range(NODE_LOOKS):
            row = await asyncio.to_thread(mine.row)
            if row is None or row.node:
                break
            await asyncio.sleep(NODE_PAUSE)  # the job has begun already, and the queue has not told its node yet
        if row is None or not row.node or "[" in row.node or "," in row.node:
            raise NightlabError(f"Slurm job {job.id} has no single node", where=job.folder)
        address = await asyncio.to_thread(slurm_queue.node_address, row.node)
        return await reach(Far(job.id, row.node, address, port, self.folder.parent / KEYS), self.ways, proves)

    def gpus(self, resources: Mapping[str, str], most: int | None = None) -> int:
        """How many GPUs a job with these resources holds, used or not, from its gres and flags."""
        asked = {**self.resources, **resources}
        gres = [f"--gres={asked['gres']}"] if asked.get("gres") else []
        return gpus_of([*gres, *asked.get("flags", "").split()])

    def words(self, resources: Mapping[str, str]) -> list[str]:
        """The flags of sbatch for what is asked, and for what the lab asks always. Raises UsageError."""
        asked = {**self.resources, **resources}
        if unknown := set(asked) - {*OPTIONS, "flags"}:
            known = ", ".join((*OPTIONS, "flags"))
            raise UsageError(f"Slurm has no resource {sorted(unknown)[0]!r}", hint=f"known: {known}")
        flags = [f"--{name}={asked[name]}" for name in OPTIONS if asked.get(name)]
        return [*flags, *shlex.split(asked.get("flags", ""))]

    def _words(self, spec: JobSpec) -> list[str]:
        """The flags of a job: one that can go on where it stopped is told before its time is over."""
        goes_on = ["--requeue", f"--signal=B:USR1@{self.warning}"] if self.warning else ["--requeue"]
        return [*(goes_on if spec.requeue else ["--no-requeue"]), *self.words(spec.resources)]

    def _frozen(self, spec: JobSpec) -> tuple[SlurmJob, str]:
        """A job with its spec written down, and its number where it was submitted before."""
        job = SlurmJob(self.folder / folder_name(spec.key), self.queue)
        new = not (job.folder / job_folder.SPEC).exists()
        job.freeze(spec)
        number = "" if new else job.find_number()
        if not number and not new:  # ended before Slurm took it: this is its first start
            (job.folder / job_folder.STOP).unlink(missing_ok=True)
        job.renew()  # what waits, too: its owner is back
        return job, number

    def _submit_many(
        self, jobs: Sequence[SlurmJob], words: Sequence[str], at_once: int | None, before: str = ""
    ) -> None:
        size = self.queue.largest_array()
        for start in range(0, len(jobs), size):
            some = jobs[start : start + size]
            after = [f"--dependency=afterany:{before}"] if at_once and before else []
            limit = f"%{at_once}" if at_once else ""
            before = self._submit(some, [*after, *words], limit)

    def _submit(self, jobs: Sequence[SlurmJob], words: Sequence[str], limit: str = "") -> str:
        """Hand in one job, or several as an array, of which `limit` says how many run side by side; its number."""
        folder, name = jobs[0].folder, name_of([job.folder for job in jobs])
        script, output, array = folder / "job.sh", job_folder.LOG, list[str]()
        if len(jobs) > 1:
            for index, job in enumerate(jobs):
                job.joins(name, index)
            array, output = [f"--array=0-{len(jobs) - 1}{limit}"], "slurm-%a.txt"
        write_atomic(script, self._script(jobs))
        escaped = str(folder).replace("%", "%%")  # to sbatch % begins a word of its own
        named = [f"--job-name={name}", f"--output={escaped}/{output}", "--open-mode=append", f"--chdir={folder}"]
        number = self.queue.submit([*named, *array, *words, str(script)])
        for index, job in enumerate(jobs):
            job.submitted(f"{number}_{index}" if array else number)
        return number

    def _script(self, jobs: Sequence[SlurmJob]) -> str:
        """The batch script of a job, or of an array, whose tasks each take a spec of its list."""
        specs = [shlex.quote(str(job.folder / job_folder.SPEC)) for job in jobs]
        tasks, spec = "", specs[0]
        if len(jobs) > 1:
            tasks, spec = "specs=(\n" + "\n".join(specs) + "\n)\n", '"${specs[$SLURM_ARRAY_TASK_ID]}"'
        start = shlex.quote(_START.format(root=str(Path(nightlab.__file__).resolve().parents[1])))
        python, key = shlex.quote(self.python), " ".join(jobs[0].spec.key.split())
        return SCRIPT.format(key=key, tasks=tasks, python=python, start=start, warning=self.warning, spec=spec)


def gpus_of(words: Sequence[str]) -> int:
    """How many GPUs flags of sbatch ask for, on one node: of several flags the most, of the same one twice the last."""
    asked: dict[str, int] = {}
    for word, after in itertools.pairwise([*words, ""]):
        flag, _, given = re.sub(r"^-G(?==?\w)=?", "--gpus=", word).partition("=")
        parts = (given or after).split(",")
        if flag == "--gres":
            asked[flag] = sum(int(one[1] or 1) for part in parts if (one := _GRES.fullmatch(part)))
        elif flag in ("-G", "--gpus", "--gpus-per-node"):
            asked[flag] = sum(int(one[1]) for part in parts if (one := _COUNT.fullmatch(part)))
    return max(asked.values(), default=0)

"""The servers and jobs of a lab as people and agents see them: where each runs, what it does, age, use, cost, owner.

A server is one row, however often its healing started it: its starts are jobs of their own, and their cost is its cost.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from nightlab.compute import open_place
from nightlab.compute.folders import read_file, spec_files
from nightlab.compute.place import OVER, Job
from nightlab.errors import NightlabError
from nightlab.job_folder import EXIT, LEASE, SPEC
from nightlab.lab import Lab
from nightlab.servers.leases import idle_seconds
from nightlab.servers.manifest import Manifest, list_servers


def server_rows(lab: Lab, *, everything: bool = False) -> list[dict[str, Any]]:
    """One row for each server that is not over, with `everything` for each there was; it may ask their places."""
    wanted = [manifest for manifest in list_servers(lab) if everything or manifest.lives]
    return [server_row(lab, manifest) for manifest in wanted]


def server_row(lab: Lab, manifest: Manifest) -> dict[str, Any]:
    """One server: `job` is its number in its place, `process` how that stands, times are seconds.

    `resident` are the adapters in its memory as of its last proof, `starts` counts its jobs, and `gpu_hours` are of all
    of them; the age is that of the latest.
    """
    jobs, process, reason = _jobs(lab, manifest)
    job = jobs[-1] if jobs else None
    over = not manifest.lives or process in OVER
    until = (_ended(job) or _stopped(manifest)) if over else time.time()
    lived = _lived(job, until) if job is not None else 0.0
    used = lived + sum(_lived(one, _ended(one)) for one in jobs[:-1])
    idle = None if over else idle_seconds(lab, manifest.id, manifest.ready)
    names = ("id", "state", "failure", "model", "model_id", "engine", "place", "url", "night", "started", "kept_until")
    return {
        **{name: getattr(manifest, name) for name in names},
        "job": job.id if job is not None else None,
        "process": process,
        "why": reason,
        "alive": process is not None and process not in OVER,
        "adapters": sorted(name for name in manifest.conditions if name != "base"),
        "resident": _resident(manifest),
        "starts": manifest.attempt + 1,
        "age_seconds": round(lived),
        "idle_seconds": None if idle is None else round(idle),
        "gpus": manifest.gpus,
        "gpu_hours": round(manifest.gpus * used / 3600, 3),
    }


def _resident(manifest: Manifest) -> list[str] | None:
    """The served adapters that are in its memory; None for an engine that keeps them all."""
    return list(manifest.residency.resident) if manifest.residency is not None else None


def job_rows(lab: Lab) -> list[dict[str, Any]]:
    """One row for each job that lives and is no known server (trainings, runs), oldest first; it may ask their places.

    `owner` is the night that started it, `lease_seconds` how long it still lives when nobody renews its lease.
    """
    servers = {key for manifest in list_servers(lab) for key in manifest.job_keys()}
    return [row for folder in spec_files(lab.jobs) if (row := _job_row(lab, folder, servers)) is not None]


def _job_row(lab: Lab, folder: Path, servers: Collection[str]) -> dict[str, Any] | None:
    """A living job by its folder; None for one that is over, or is a server."""
    end, spec = read_file(folder, EXIT), read_file(folder, SPEC)
    if spec is None or spec["key"] in servers or (end is not None and end["reason"] != "term"):
        return None
    name, gpus = spec.get("place") or lab.config.place, 0
    try:
        place = open_place(lab, name)
        job, gpus = place.find(spec["key"]), place.gpus(spec["resources"], spec.get("gpus"))
        process, why = (job.state(), job.reason()) if job is not None else ("lost", None)
    except NightlabError as error:
        job, process, why = None, "unreachable", error.what
    if process in OVER:
        return None
    began = job.began() if job is not None else None
    return {
        "place": name,
        "job": job.id if job is not None else None,
        "key": spec["key"],
        "command": shlex.join(spec["argv"]),
        "process": process,
        "why": why,
        "age_seconds": None if began is None else round(max(0.0, time.time() - began)),
        "gpus": gpus,
        "owner": spec.get("owner") or None,
        "lease_seconds": _lease(folder, spec["lease_seconds"]),
    }


def _jobs(lab: Lab, manifest: Manifest) -> tuple[list[Job], str | None, str | None]:
    """A server's jobs, how the latest stands, and why; a place that cannot be opened leaves that open."""
    try:
        place = open_place(lab, manifest.place)
        jobs = [job for key in manifest.job_keys() if (job := place.find(key)) is not None]
        if not jobs or not manifest.lives:
            return jobs, None, None
        return jobs, jobs[-1].state(), jobs[-1].reason()
    except NightlabError as error:
        return [], "unreachable", error.what


def _lived(job: Job, until: float | None) -> float:
    """Seconds that a job's command has run; 0 where its beginning or its end is not known."""
    began = job.began()
    return max(0.0, until - began) if began is not None and until is not None else 0.0


def _ended(job: Job | None) -> float | None:
    """When a job ended, as its wrapper wrote."""
    if job is None or not (job.folder / EXIT).exists():
        return None
    return (job.folder / EXIT).stat().st_mtime


def _stopped(manifest: Manifest) -> float | None:
    """When a server that is over ended, as its owner wrote."""
    return datetime.fromisoformat(manifest.stopped).timestamp() if manifest.stopped else None


def _lease(folder: Path, length: float | None) -> int | None:
    """Seconds that a lease still holds, by the clock of the shared files; None for a job without one."""
    said = read_file(folder, LEASE)
    if length is None or said is None:
        return None
    ends = (folder / LEASE).stat().st_mtime + float(said.get("seconds") or length)
    return max(0, round(ends - time.time()))

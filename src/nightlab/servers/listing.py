"""The servers of a lab as people and agents see them: where each runs, what it serves, its age, use, cost and owner."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from nightlab.compute import open_place
from nightlab.compute.place import OVER, Job
from nightlab.errors import NightlabError
from nightlab.job_folder import EXIT
from nightlab.lab import Lab
from nightlab.servers.leases import idle_seconds
from nightlab.servers.manifest import Manifest, list_servers
from nightlab.servers.server import Server

ALIVE = ("starting", "ready")


def server_rows(lab: Lab, *, everything: bool = False) -> list[dict[str, Any]]:
    """One row for each server that is not over, with `everything` for each there was; it may ask their places."""
    wanted = [manifest for manifest in list_servers(lab) if everything or manifest.state in ALIVE]
    return [server_row(lab, manifest) for manifest in wanted]


def server_row(lab: Lab, manifest: Manifest) -> dict[str, Any]:
    """One server: `job` is its number in its place, `process` how that stands, times are seconds."""
    job, process, reason = _job(lab, manifest)
    began = job.began() if job is not None else None
    over = manifest.state not in ALIVE or process in OVER
    until = _end(manifest, job) if over else time.time()
    lived = max(0.0, until - began) if began is not None and until is not None else 0.0
    names = ("id", "state", "failure", "model", "model_id", "engine", "place", "url", "night", "started", "kept_until")
    return {
        **{name: getattr(manifest, name) for name in names},
        "job": job.id if job is not None else None,
        "process": process,
        "why": reason,
        "alive": process is not None and process not in OVER,
        "adapters": sorted(name for name in manifest.conditions if name != "base"),
        "age_seconds": round(lived),
        "idle_seconds": None
        if over or (idle := idle_seconds(lab, manifest.id, manifest.ready)) is None
        else round(idle),
        "gpus": manifest.gpus,
        "gpu_hours": round(manifest.gpus * lived / 3600, 3),
    }


def _job(lab: Lab, manifest: Manifest) -> tuple[Job | None, str | None, str | None]:
    """A server's job, how it stands, and why; a place that cannot be opened leaves that open."""
    try:
        job = Server(lab, open_place(lab, manifest.place), manifest).job
        if job is None or manifest.state not in ALIVE:
            return job, None, None
        return job, job.state(), job.reason()
    except NightlabError as error:
        return None, "unreachable", error.what


def _end(manifest: Manifest, job: Job | None) -> float | None:
    """When a server that is over ended: as its job wrote, else as its owner did."""
    if job is not None and (job.folder / EXIT).exists():
        return (job.folder / EXIT).stat().st_mtime
    return datetime.fromisoformat(manifest.stopped).timestamp() if manifest.stopped else None

"""The failure packet: all that is known about a server that failed, bounded, for whoever has to find out why.

Command, exit state, the signature that matched, the log's beginning and end, and the facts of the machine. Log lines
are data from outside: they stand in the packet as quoted text.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from nightlab.compute import open_place
from nightlab.experiments.samples import FAILURES
from nightlab.files import JsonLines
from nightlab.lab import Lab
from nightlab.servers.engines import stage_of
from nightlab.servers.failures import Diagnosis, catalogue, diagnose_log, explain, read_log
from nightlab.servers.manifest import Manifest, load
from nightlab.servers.server import Server
from nightlab.servers.wanted import argv_of

HEAD, TAIL = 1500, 4000  # characters of a log that a packet quotes
LATEST = 5  # failed attempts that a packet quotes


def diagnosis(lab: Lab, manifest: Manifest) -> Diagnosis:
    """The recorded class with the log's line, else what the log says, else whether the process is gone."""
    log = lab.root / manifest.log if manifest.log else None
    known = catalogue(lab.failures)
    read = diagnose_log(log, known=known) if log else None
    if manifest.failure is not None and manifest.failure in known:
        return read if read and read.cls == manifest.failure else explain(manifest.failure, known=known)
    if read and read.cls is not None:
        return read
    place = open_place(lab, manifest.place)
    if manifest.lives and not Server(lab, place, manifest).alive():
        return explain("server_lost")
    return read or explain("no_answer")


def reached(lab: Lab, manifest: Manifest) -> str | None:
    """How far a server's start came, by its log; None where that says nothing of one."""
    return stage_of(read_log(lab.root / manifest.log)) if manifest.log else None


def server_packet(lab: Lab, server: str) -> dict[str, Any]:
    """What is known about a server, as JSON. Raises UsageError where there is none of that name."""
    manifest = load(lab, server)
    job = Server(lab, open_place(lab, manifest.place), manifest).job
    found = diagnosis(lab, manifest)
    return {
        "server": server,
        "model": {"name": manifest.model, "id": manifest.model_id, "path": manifest.model_path},
        "command": " ".join(argv_of(manifest))[:2000],
        "state": manifest.state,
        "recorded": {"class": manifest.failure, "what": manifest.error, "remedy": manifest.remedy},
        "exit": {"state": job.state(), "code": job.exit_code(), "reason": job.reason()} if job else None,
        "signature": {"class": found.cls, "cause": found.cause, "line": found.line, "confidence": found.confidence},
        "reached": reached(lab, manifest),
        "remedies": list(found.remedy),
        "canary": manifest.canary,
        "port": {"asked": manifest.port_wanted, "used": manifest.port},
        "log": manifest.log,
        "excerpts": _excerpts(lab.root / manifest.log) if manifest.log else [],
        "machine": _machine(lab, manifest),
    }


def sweep_packet(lab: Lab, experiment: str) -> dict[str, Any]:
    """How the attempts of an experiment's sweep failed: how often each class, and the latest ones."""
    rows = list(JsonLines(lab.experiments / experiment / FAILURES).read())
    latest = [
        {name: str(row.get(name, ""))[:400] for name in ("class", "error", "server", "t")} for row in rows[-LATEST:]
    ]
    return {"experiment": experiment, "failed_attempts": dict(Counter(row["class"] for row in rows)), "latest": latest}


def _excerpts(log: Path) -> list[str]:
    text = read_log(log)
    if len(text) <= HEAD + TAIL:
        return [text]
    left = len(text) - HEAD - TAIL
    return [text[:HEAD], f"[cut: {left} characters between]", text[-TAIL:]]


def _machine(lab: Lab, manifest: Manifest) -> dict[str, Any]:
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "disk_free_gb": round(shutil.disk_usage(lab.root).free / 1e9, 1),
        "versions": manifest.versions,
        "flags": manifest.flags,
        "place": manifest.place,
    }

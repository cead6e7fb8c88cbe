"""The manifest of a server: who it is, where it runs, what it serves under which names, and what proved it.

It is written before the job starts and at every change: a fresh process can find, prove or stop the server by it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nightlab.errors import StorageError, UsageError, nearest
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.servers.code import CodeState
from nightlab.servers.readings import Reading
from nightlab.servers.residency import Residency

ServerState = Literal["starting", "ready", "failed", "stopped"]


class ServedAdapter(BaseModel):
    """An adapter as the server has it: the condition it stands for, its content, and its folder."""

    model_config = ConfigDict(extra="forbid")

    condition: str
    sha256: str
    weights_sha256: str
    path: str


class Proof(BaseModel):
    """For one source adapter the served names of its forms that the canary compares: weight 0, weight 1, as it is."""

    model_config = ConfigDict(extra="forbid")

    source: str
    null: str
    full: str
    plain: str | None = None


class Manifest(BaseModel):
    """One server, from its request to its end. Times are UTC ISO 8601; paths in the lab are relative to it."""

    model_config = ConfigDict(extra="forbid")

    v: int = 1
    id: str
    key: str
    night: str
    model: str
    model_id: str
    revision: str | None = None
    model_path: str
    model_files: str | None = None
    """The signature of the model's files (names, sizes, times) when the server was started."""
    engine: str
    served_name: str
    place: str
    job: str
    attempt: int = 0
    port: int
    port_wanted: int = 0
    url: str | None = None
    flags: list[str]
    env: dict[str, str] = {}
    options: dict[str, str | int | float | bool] = {}
    learned: dict[str, str | int | float | bool] = {}
    healed: list[dict[str, Any]] = []
    """The steps that its failed starts made code take, in order: class, line, step, what changed."""
    extra: list[str] = []
    rank: int = 0
    least: dict[str, float] = {}
    """Bounds below which no remedy may set an option, since the plan needs so much."""
    before: list[str] = []
    """Words that stand before its command: a container, a launcher."""
    python: list[str] = []
    """The interpreter whose environment it runs in; empty for a command that is not ours."""
    code: CodeState | None = None
    resources: dict[str, str] = {}
    """What its place is asked for, beyond the lab's settings."""
    gpus: int = 0
    keep_seconds: float = 0
    """How long the end of its night leaves it running, for the next one."""
    kept_until: str | None = None
    adapters: dict[str, ServedAdapter] = {}
    residency: Residency | None = None
    """Which adapters are in the server's memory, as of its last proof; None for an engine that keeps them all."""
    conditions: dict[str, str]
    """For each condition the model name to request."""
    proofs: list[Proof] = []
    versions: dict[str, str] = {}
    state: ServerState = "starting"
    failure: str | None = None
    error: str | None = None
    remedy: str | None = None
    canary: dict[str, Any] | None = None
    """The latest one in full: id, time, when in the server's life, and every check with its evidence."""
    canaries: list[dict[str, Any]] = []
    """All of them in short, oldest first."""
    reference: dict[str, list[Reading]] = {}
    """The answers of the first canary that passed, by served name; a restart in a sweep is compared with them, too."""
    started: str
    ready: str | None = None
    stopped: str | None = None
    log: str | None = None

    @property
    def lives(self) -> bool:
        """Whether it is to run, by its record; whether its process does is its job's to say."""
        return self.state in ("starting", "ready")

    def job_keys(self) -> list[str]:
        """The keys of its jobs, oldest first: each start, the first one and those of its healing, is a job."""
        return [job_key(self.id, attempt) for attempt in range(self.attempt + 1)]


def job_key(server_id: str, attempt: int) -> str:
    """The key of the job that one start of a server is."""
    return f"{server_id}.{attempt}"


def manifest_path(lab: Lab, server_id: str) -> Path:
    """The file of a server."""
    return lab.servers / f"{server_id}.json"


def save(lab: Lab, manifest: Manifest) -> None:
    """Write a manifest as a whole. Raises StorageError."""
    write_atomic(manifest_path(lab, manifest.id), manifest.model_dump_json(indent=1) + "\n")


def load(lab: Lab, server_id: str) -> Manifest:
    """The manifest of a server. Raises UsageError naming the nearest, StorageError for a damaged file."""
    path = manifest_path(lab, server_id)
    if not path.is_file():
        close = nearest(server_id, [p.stem for p in lab.servers.glob("*.json")])
        hint = f"did you mean {close}?" if close else "`nightlab servers` lists them"
        raise UsageError(f"no server {server_id!r}", where=lab.servers, hint=hint)
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise StorageError("a damaged manifest", where=path, hint="restore it from git, or remove it") from error


def list_servers(lab: Lab) -> list[Manifest]:
    """All servers this lab ever asked for, oldest first; those whose manifest is damaged are left out: `damaged`."""
    found = [one for path in lab.servers.glob("*.json") if isinstance(one := _read(lab, path), Manifest)]
    return sorted(found, key=lambda manifest: (manifest.started, manifest.id))


def damaged(lab: Lab) -> list[StorageError]:
    """The manifests that cannot be read: their servers end by their leases."""
    return [one for path in sorted(lab.servers.glob("*.json")) if isinstance(one := _read(lab, path), StorageError)]


def _read(lab: Lab, path: Path) -> Manifest | StorageError | None:
    try:
        return load(lab, path.stem)
    except StorageError as error:
        return error
    except UsageError:
        return None  # removed meanwhile

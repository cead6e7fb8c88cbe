"""What a report says that is not in the rows: servers, degradations, corrections, cost, the lab's other claims that
contradict these, and how its judges drifted. Kept beside the rows in evidence.json.

The snapshot is taken when an experiment is analysed, so that the report can be made again later, elsewhere, byte for
byte. Paths, job numbers and log files of the machine are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nightlab import __version__
from nightlab.errors import StorageError
from nightlab.evidence.assertions import Against
from nightlab.evidence.design import Design
from nightlab.evidence.rows import Rows
from nightlab.evidence.stats import RESAMPLES
from nightlab.files import write_atomic
from nightlab.judging.reliability import Drift

FILE = "evidence.json"
_SERVER_FIELDS = (
    *("id", "model", "model_id", "served_name", "place", "state", "failure", "versions", "flags", "night"),
    *("engine", "options", "learned", "extra"),
)
_TOLD = ("degradation", "correction")
_LONGEST = 500


@dataclass(frozen=True)
class Context:
    """The snapshot: servers (None: nobody said), told events, cost, and how many resamples the intervals use."""

    servers: tuple[Mapping[str, Any], ...] | None = None
    events: tuple[Mapping[str, Any], ...] = ()
    cost: Mapping[str, float] | None = None
    resamples: int = RESAMPLES
    package: str = __version__
    against: Mapping[str, tuple[Against, ...]] = field(default_factory=dict)
    looks: int = 0
    """How often the data were analysed before they were complete."""
    drift: tuple[Drift, ...] = ()
    """How the judges changed on the lab's gold items, as far as it was known."""

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of one kind."""
        return [event for event in self.events if event["kind"] == kind]

    def write(self, folder: Path) -> Path:
        """Write evidence.json."""
        document = {
            "package": self.package,
            "resamples": self.resamples,
            "servers": self.servers,
            "events": self.events,
            "cost": self.cost,
            "looks": self.looks,
            "drift": [asdict(one) for one in self.drift],
            "against": {claim: [other.document() for other in others] for claim, others in self.against.items()},
        }
        path = folder / FILE
        write_atomic(path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return path


def read_context(folder: Path) -> Context:
    """The snapshot of an experiment folder; an empty one where it was never analysed. Raises StorageError."""
    path = folder / FILE
    if not path.exists():
        return Context()
    try:
        found = json.loads(path.read_text("utf-8"))
        servers = None if found["servers"] is None else tuple(found["servers"])
        against = {
            claim: tuple(Against(**other) for other in others) for claim, others in found.get("against", {}).items()
        }
        resamples, package = int(found["resamples"]), str(found["package"])
        looks = int(found.get("looks", 0))
        drifted = tuple(Drift(**one) for one in found.get("drift", []))
        return Context(servers, tuple(found["events"]), found["cost"], resamples, package, against, looks, drifted)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError("the snapshot cannot be read", where=path, hint="restore it from git") from error


def collect(
    design: Design,
    rows: Rows,
    servers: Iterable[Mapping[str, Any]] | None,
    events: Iterable[Mapping[str, Any]],
    cost: Mapping[str, float] | None,
    resamples: int,
) -> Context:
    """Choose what concerns one experiment from a lab's server manifests and a night's events."""
    known = None if servers is None else _servers(design, rows, list(servers))
    return replace(choose(design.name, events, cost, resamples), servers=known)


def choose(
    experiment: str, events: Iterable[Mapping[str, Any]], cost: Mapping[str, float] | None, resamples: int
) -> Context:
    """What concerns one experiment of a night's events, without servers."""
    heard = list(events)
    told = tuple(_event(event) for event in heard if _concerns(event, experiment))
    numbers = None if cost is None else {name: float(value) for name, value in cost.items()}
    looks = sum(_early(event) for event in heard if event.get("experiment") == experiment)
    return Context(None, told, numbers, resamples, looks=looks)


def _early(event: Mapping[str, Any]) -> bool:
    """Whether an event is an analysis of data that were not complete."""
    return event.get("kind") == "analysis" and int(event.get("judged") or 0) < int(event.get("planned") or 0)


def _servers(design: Design, rows: Rows, servers: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The servers that answered, and those of the same nights that failed for a model of the plan."""
    answering = {str(row.get("server")) for row in rows.samples.values()}
    used = [server for server in servers if str(server.get("id")) in answering]
    nights = {server.get("night") for server in used} or {server.get("night") for server in servers}
    failed = [
        server
        for server in servers
        if server not in used
        and server.get("state") == "failed"
        and server.get("model") in design.models
        and server.get("night") in nights
    ]
    return tuple(_server(server) for server in (*used, *failed))


def _server(server: Mapping[str, Any]) -> dict[str, Any]:
    adapters = server.get("adapters") or {}
    canary = server.get("canary") or {}
    checks = canary.get("checks") or []
    return {
        **{field: server.get(field) for field in _SERVER_FIELDS},
        "adapters": {name: {"sha256": adapter.get("sha256")} for name, adapter in adapters.items()},
        "canary": {
            "passed": canary.get("passed") is True,
            "checks": [{"name": check.get("name"), "passed": check.get("passed")} for check in checks],
        },
    }


def _concerns(event: Mapping[str, Any], experiment: str) -> bool:
    return event.get("kind") in _TOLD and event.get("experiment", experiment) == experiment


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in event.items() if isinstance(value, str | int | float | bool)}
    return {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in plain.items()}

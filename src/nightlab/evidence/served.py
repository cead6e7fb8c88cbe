"""How the servers that answered differ from what the frozen plan says of serving, and from one another.

Engine, types of numbers and flags are no part of a cell's identity, since a plan may have to move to another machine
between two nights; but they can change answers, so each difference is a deviation with the answers that it concerns.
Versions are compared between the servers of one model. Limits: a server whose manifest is not there, or is of before
engines were recorded, is not compared, nor is a plan that was frozen before its serving was kept with its lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nightlab.evidence.table import Table
from nightlab.experiments.freeze import frozen_serving

Setting = Mapping[str, Any]

_OURS = frozenset(["engine", "max_model_len"])
"""What a night fills in where a plan does not say it."""

_VERSION = "version of "


def find_served(table: Table, servers: Iterable[Setting]) -> Iterator[str]:
    """One text for each difference, by model."""
    server = table.rows.answers.named["server"]
    answers = Counter({name: int(server.equals(name).sum()) for name in server.levels})
    frozen = frozen_serving(table.design.lock)
    used = [one for one in servers if one.get("engine") and answers[str(one.get("id"))]]
    for model in table.design.models:
        own = [(one, answers[str(one["id"])]) for one in used if one.get("model") == model]
        if frozen is not None:
            yield from _against(model, frozen, [(_settings(one), count) for one, count in own])
        both = [({**_settings(one), **_versions(one)}, count) for one, count in own]
        said = {name for name, value in (frozen or {}).items() if value not in (None, [])}
        yield from _apart(model, both, said if frozen is None else said | _named(own) - _OURS)


def _settings(server: Setting) -> dict[str, Any]:
    """What a server ran with: the plan's options, and over them what its failed starts taught."""
    options = {**(server.get("options") or {}), **(server.get("learned") or {})}
    return {"engine": server["engine"], **options, "extra": list(server.get("extra") or [])}


def _versions(server: Setting) -> dict[str, Any]:
    return {f"{_VERSION}{name}": version for name, version in (server.get("versions") or {}).items()}


def _named(own: Iterable[tuple[Setting, int]]) -> set[str]:
    return {name for server, _ in own for name in _settings(server)}


def _against(model: str, frozen: Setting, ran: Iterable[tuple[Setting, int]]) -> Iterator[str]:
    """What differs from the frozen plan; what it leaves to the night is no difference."""
    found: Counter[tuple[str, str]] = Counter()
    for settings, count in ran:
        for name in {**frozen, **settings}:
            planned, own = frozen.get(name), settings.get(name)
            left_open = name in _OURS and planned is None
            if (planned or None) != (own or None) and not left_open:
                found[name, f"with {name} {_said(own)}; the frozen plan says {_said(planned)}"] += count
    yield from (f"serving: {model}: {count} answers come from a server {text}" for (_, text), count in found.items())


def _apart(model: str, ran: list[tuple[dict[str, Any], int]], compared: set[str]) -> Iterator[str]:
    """What differs between the servers of a model, where no frozen value was compared with already."""
    for name in dict.fromkeys(name for settings, _ in ran for name in settings):
        values: Counter[str] = Counter()
        for settings, count in ran:
            if name in settings or not name.startswith(_VERSION):  # a version that nobody asked for is not known
                values[_said(settings.get(name))] += count
        if len(values) > 1 and name not in compared:
            listed = ", ".join(f"{value} ({count} answers)" for value, count in values.items())
            yield f"serving: {model}: answers come from servers that differ in {name}: {listed}"


def _said(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)

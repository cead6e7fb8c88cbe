"""A failed start and what the next one has to be like: the ladder of its failure, climbed one rung at a time.

Each rung is recorded in the manifest (`healed`) before it is taken, so a night that is killed in between goes on from
there. What worked is remembered with its evidence (learned.py). A change that can change answers is a degradation.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightlab.errors import ServerError
from nightlab.events import EventLog
from nightlab.files import now
from nightlab.lab import Lab
from nightlab.servers.failures import Diagnosis, Move, Present, catalogue, diagnose_log, explain, next_move
from nightlab.servers.failures.ladder import Option
from nightlab.servers.learned import lesson_for
from nightlab.servers.manifest import Manifest, list_servers
from nightlab.servers.wanted import retuned, tunable

CHANGES_ANSWERS = ("dtype", "max_model_len")
GIB = 2**30
_LOOK = 2.0  # seconds between two looks at what is waited for
_FETCH = 3600.0  # seconds that a download may take
_LINE = 200  # characters of a log line that the record of a step quotes


def read_failure(lab: Lab, error: ServerError) -> Diagnosis | None:
    """The diagnosis behind a server's error, with its ladder and the values that the log names."""
    known = catalogue(lab.failures)
    read = diagnose_log(error.log, known=known) if error.log is not None else None
    if read is not None and read.cls == error.failure:
        return read
    return explain(error.failure, known=known) if error.failure in known else None


def next_rung(lab: Lab, manifest: Manifest, found: Diagnosis) -> Move | None:
    """What the next start of this server has to be like; None where code knows no more."""
    if found.whose != "ours":
        return None
    present = Present(
        options=_effective(manifest),
        env=manifest.env,
        tunable=tunable(manifest),
        extra=tuple(manifest.extra),
        model_id=manifest.model_id,
        least=manifest.least,
        own_port=manifest.port_wanted == 0,
    )
    return next_move(found.ladder, present, [str(step["key"]) for step in manifest.healed], found.found)


def _effective(manifest: Manifest) -> dict[str, Option]:
    """Its options as they stand, with the room for adapters that was derived."""
    room = manifest.residency
    derived: dict[str, Option] = {} if room is None else {"max_loras": room.batch}
    return {**derived, **manifest.options, **manifest.learned}


def taught(lab: Lab, manifest: Manifest) -> Manifest:
    """A manifest that is to be started, with what is known already: this place's lesson, and what a server of the same
    model died of earlier in this night.
    """
    lesson = lesson_for(lab, manifest)
    if lesson is not None:
        known = {name: value for name, value in lesson.options.items() if name in tunable(manifest)}
        manifest = retuned(lab, manifest, {**manifest.learned, **known}, lesson.env)
    last = _predecessor(lab, manifest)
    if last is None or last.log is None:
        return manifest
    found = diagnose_log(lab.root / last.log, stopped=True, known=catalogue(lab.failures))
    if last.state != "failed" and found.cls is None:
        return manifest  # it did its work and was stopped
    carried = manifest.model_copy(update={"healed": last.healed})
    carried = retuned(lab, carried, {**manifest.learned, **last.learned}, lesson_of(last)[1])
    move = next_rung(lab, carried, found) if found.cls is not None else None
    return healed(lab, carried, move, found) if move and (move.options or move.env) else carried


def _predecessor(lab: Lab, manifest: Manifest) -> Manifest | None:
    """The server of the same model, engine and night that was asked for last."""
    same = [
        one
        for one in list_servers(lab)
        if (one.night, one.model_id, one.engine) == (manifest.night, manifest.model_id, manifest.engine)
        and one.id != manifest.id
        and one.state in ("failed", "stopped")
    ]
    return same[-1] if same else None


def healed(lab: Lab, manifest: Manifest, move: Move, found: Diagnosis) -> Manifest:
    """The manifest after a move, its command and environment made anew; the move stands in its record."""
    step: dict[str, Any] = {"t": now(), "class": found.cls, "stage": found.stage, "line": found.line[:_LINE]}
    step |= {"step": move.said, "key": move.key, "options": dict(move.options), "env": dict(_filled(move.env))}
    extra = _without(manifest.extra, move.drop) if move.drop else manifest.extra
    changed = manifest.model_copy(update={"healed": [*manifest.healed, step], "extra": extra})
    return retuned(lab, changed, {**manifest.learned, **move.options}, _filled(move.env))


def told(events: EventLog, manifest: Manifest, move: Move, found: Diagnosis) -> None:
    """Say what is tried, and say louder what can change an answer."""
    names = {"server": manifest.id, "model": manifest.model, "failure": found.cls}
    events.emit("server_healing", **names, step=move.said, line=found.line[:_LINE])
    changed = [name for name in move.options if name in CHANGES_ANSWERS]
    if changed:
        why = f"{found.cls}: {found.cause}"
        events.emit("degradation", what=f"{manifest.model} is served with {move.said}", why=why, server=manifest.id)


async def prepare(lab: Lab, manifest: Manifest, move: Move) -> str | None:
    """Do what a move needs before the next start: wait, or fetch. What went wrong with that, or None."""
    if move.wait is not None:
        await wait_for(move.wait, lab, manifest, move.seconds)
    if move.prefetch:
        return await asyncio.to_thread(fetch, manifest.model_id, manifest.revision)
    return None


async def wait_for(what: str, lab: Lab, manifest: Manifest, seconds: float) -> bool:
    """Wait until memory or disk is free, at most so long; whether it is."""
    deadline = time.monotonic() + seconds
    while True:
        if await asyncio.to_thread(_is_free, what, lab, manifest):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(min(_LOOK, max(0.05, deadline - time.monotonic())))


def fetch(model: str, revision: str | None) -> str | None:
    """Fetch a model from the hub into the cache, in a process of its own; why that failed, or None."""
    code = (
        "import sys; from huggingface_hub import snapshot_download as d; d(sys.argv[1], revision=sys.argv[2] or None)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    argv = [sys.executable, "-P", "-c", code, model, revision or ""]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_FETCH, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"the download of {model} took more than {_FETCH / 60:g} minutes"
    if done.returncode == 0:
        return None
    return f"{model} cannot be fetched: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:300]}"


def _is_free(what: str, lab: Lab, manifest: Manifest) -> bool:
    if what == "gpu_memory":
        share = manifest.learned.get("gpu_memory_utilization", manifest.options.get("gpu_memory_utilization", 0.9))
        return gpu_free_share() >= float(share)
    if what == "host_memory":
        return _available() > 1.5 * _size(lab.root / manifest.model_path) + GIB
    return min(shutil.disk_usage(path).free for path in (lab.root, Path(tempfile.gettempdir()))) > 5 * GIB


def gpu_free_share() -> float:
    """The free share of the fullest visible GPU's memory; 1 where none answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 1.0
    argv = [program, "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return 1.0
    rows = [line.split(",") for line in done.stdout.strip().splitlines() if line.count(",") == 1]
    return min((float(free) / float(total) for free, total in rows), default=1.0)


def _available() -> float:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("MemAvailable:"))
    return float(line.split()[1]) * 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0


def _filled(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value.replace("{tmp}", tempfile.gettempdir()) for name, value in env.items()}


def _without(words: list[str], flag: str) -> list[str]:
    """The words without one flag and its value."""
    kept: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("-"):
            dropping = word.partition("=")[0] == flag
            if dropping:
                continue
        elif dropping:
            dropping = False
            continue
        kept.append(word)
    return kept


def lesson_of(manifest: Manifest) -> tuple[dict[str, Option], dict[str, str]]:
    """What the healing of a server changed about it: options and environment, the last value of each."""
    options: dict[str, Option] = {}
    env: dict[str, str] = {}
    for step in manifest.healed:
        options |= step.get("options", {})
        env |= step.get("env", {})
    return options, env

"""What a rehearsal can stage around its servers: starts that fail with a real server's words, bad HTTP, a kill.

Each trouble is real for the night (a process that ends, a body that breaks its contract); only its occasion is staged,
by `nightlab.testing.staged`, which stands before the command of one model's server.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError, nearest
from nightlab.files import write_atomic

_OOM = """\
(EngineCore pid=9) ERROR   File "gpu_worker.py", line 1, in load_model
(EngineCore pid=9) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 44 GiB
(EngineCore pid=9) ERROR RuntimeError: Engine core initialization failed. See root cause above.
"""
_KILLED = """\
(EngineCore pid=9) ERROR [multiproc_executor.py:300] Worker proc VllmWorker-0 died unexpectedly, shutting down executor.
(EngineCore pid=9) ERROR [core.py:900] RuntimeError: Executor failed.
(APIServer pid=8) ERROR vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace.
"""
_GATED = "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url https://hub/...\n"
_NO_MEMORY = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes\n"
_PORT = "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use\n"


@dataclass(frozen=True)
class Trouble:
    """One trouble: what it is, and how it is staged: the log of a failed start, HTTP faults, or a kill."""

    about: str
    log: str | None = None
    times: int | None = 1
    """How many starts it meets; None: every one."""
    code: int = 1
    faults: tuple[dict[str, Any], ...] = ()
    kill_after: int | None = None


def _status(code: int, times: int) -> dict[str, Any]:
    return {"kind": "status", "status": code, "times": times}


TROUBLES: dict[str, Trouble] = {
    "port_in_use": Trouble("another process takes the port first", _PORT),
    "worker_killed": Trouble("a worker is killed at the start, and the server ends with code 0", _KILLED, code=0),
    "host_memory": Trouble(
        "the machine's memory is used up", "RuntimeError: DefaultCPUAllocator: can't allocate memory\n"
    ),
    "disk_full": Trouble("the disk of the cache is full", "OSError: [Errno 28] No space left on device: '/cache/x'\n"),
    "gpu_full": Trouble("the weights do not fit the GPU, however often it is tried", _OOM, times=None),
    "gated": Trouble("the model's licence is not accepted", _GATED, times=None),
    "error_500": Trouble(
        "three requests are answered with 500", faults=({"kind": "status", "status": 500, "times": 3},)
    ),
    "error_404": Trouble("two requests are answered with 404", faults=({"kind": "status", "status": 404, "times": 2},)),
    "rate_limit": Trouble(
        "three requests are told to come back later",
        faults=({**_status(429, 3), "retry_after": 0.2},),
    ),
    "error_body": Trouble("two answers of status 200 hold an error", faults=({"kind": "error_body", "times": 2},)),
    "wrong_model": Trouble("an answer comes from another model", faults=({"kind": "wrong_model", "times": 1},)),
    "truncated": Trouble("two answers end in the middle", faults=({"kind": "truncated", "times": 2},)),
    "dropped": Trouble("two connections are cut", faults=({"kind": "drop", "times": 2},)),
    "killed": Trouble("the server is killed in the middle of the sweep", kill_after=5),
}
USUAL = ("port_in_use", "error_body", "killed")
RUN_TROUBLES: dict[str, Trouble] = {
    "run_dies": Trouble("the command of a run ends with an error"),
    "run_hangs": Trouble("the command of a run hangs until its time is up"),
    "run_silent": Trouble("the command of a run ends well and prints no metric"),
}
"""What meets the commands of `kind: run`; `nightlab.runs.staged` plays it."""
RUN_USUAL = tuple(RUN_TROUBLES)
NONE = "none"


@dataclass(frozen=True)
class Staged:
    """A trouble and the model it meets."""

    name: str
    model: str
    about: str = field(default="")


def chosen(text: str | None, known: Mapping[str, Trouble], usual: Sequence[str]) -> list[str]:
    """The troubles that were asked for by name, comma between them. Raises UsageError naming the nearest."""
    if text is None:
        return list(usual)
    names = [name.strip() for name in text.split(",") if name.strip() and name.strip() != NONE]
    for name in names:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"known: {', '.join(known)}, or {NONE}"
            raise UsageError(f"no trouble {name!r} can be staged", hint=hint)
    return names


def staged(names: Sequence[str], models: Sequence[str]) -> list[Staged]:
    """Each trouble with the model it meets, spread over the models in turn."""
    return [Staged(name, models[i % len(models)], TROUBLES[name].about) for i, name in enumerate(names)]


def prefix(staging: Sequence[Staged], folder: Path) -> str:
    """The words before every server's command that stage the troubles; their logs and counts go to `folder`."""
    words: list[str] = []
    for number, one in enumerate(staging):
        trouble = TROUBLES[one.name]
        words += [sys.executable, "-P", "-m", "nightlab.testing.staged", "--only", _served(one.model)]
        if trouble.times is not None:
            words += ["--times", str(trouble.times), "--count", str(folder / f"{number}.count")]
        if trouble.log is not None:
            path = folder / f"{number}.log"
            write_atomic(path, trouble.log)
            words += ["--die", str(path), "--code", str(trouble.code)]
        if trouble.faults:
            words += ["--faults", json.dumps(list(trouble.faults))]
        if trouble.kill_after is not None:
            path = folder / f"{number}.last"
            write_atomic(path, _KILLED)
            words += ["--kill-after", str(trouble.kill_after), "--last-words", str(path)]
        words.append("--")
    return shlex.join(words)


def _served(model: str) -> str:
    """How the served names of a model's servers begin."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40] + "-"

"""The process of one run: `python -m nightlab.runs.one RUN_FOLDER/spec.json`, started as a job of a place.

It runs the command of the frozen spec in the sandbox (it may write the run's folder alone, has no network and no key),
keeps its output in log.txt, and writes result.json last: a run with a result is never done again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from nightlab.compute.sandbox.ladder import probe
from nightlab.compute.sandbox.run import Limits, Outcome, run
from nightlab.compute.sandbox.scope import Scope
from nightlab.errors import NotSetUp
from nightlab.files import write_atomic
from nightlab.runs.cards import SHOWN
from nightlab.runs.plan import STDOUT
from nightlab.runs.result import Result, Status, find_metrics, hashes, numbers

SPEC, LOG = "spec.json", "log.txt"
_GIB = 1 << 30
_OUTPUT = 4 << 20  # bytes of output that the log keeps: its beginning and its end


def main() -> int:
    """Run it; 0 where it gave its metrics."""
    folder = Path(sys.argv[1]).resolve().parent
    spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    found = asyncio.run(perform(spec, folder))
    found.write(folder)
    return 0 if found.status == "ok" else 1


async def perform(spec: dict[str, Any], folder: Path) -> Result:
    """Run the command of a spec and read what it gave."""
    try:
        level = probe().choose(spec["containment"])
    except NotSetUp as error:
        return Result("not_started", why=str(error))
    limits = Limits(
        seconds=spec["seconds"], memory=int(spec["memory_gb"] * _GIB), file_size=8 * _GIB, output=_OUTPUT, processes=512
    )
    scope = Scope.of(Path(spec["root"]), [folder])
    given = {SHOWN: os.environ[SHOWN]} if SHOWN in os.environ else {}  # by the queue; on this machine the spec says it
    outcome = await run(spec["argv"], scope, limits, level=level, env={**given, **spec["env"]})
    write_atomic(folder / LOG, outcome.output)
    status, why, metrics = _read(outcome, spec, folder)
    made = await asyncio.to_thread(hashes, folder, spec["artefacts"])
    peak = round(outcome.peak / (1 << 20), 1)
    return Result(status, outcome.code, why, outcome.seconds, peak, level, metrics, made)


def _read(outcome: Outcome, spec: dict[str, Any], folder: Path) -> tuple[Status, str, dict[str, float]]:
    if outcome.status != "ok":
        return outcome.status, _why(outcome), {}
    if spec["metrics_from"] == STDOUT:
        metrics, lacking = find_metrics(outcome.output, spec["metrics"])
    else:
        try:
            data = json.loads((folder / spec["metrics_from"]).read_text(encoding="utf-8"))
            metrics, lacking = numbers(data, spec["metrics"]) if isinstance(data, dict) else ({}, "it holds no object")
        except (OSError, ValueError) as error:
            metrics, lacking = {}, f"{spec['metrics_from']} cannot be read: {error}"
    return ("no_metrics", lacking, {}) if lacking else ("ok", "", metrics)


def _why(outcome: Outcome) -> str:
    """One sentence about a command that did not end well, with its last words."""
    if outcome.status == "not_started":
        return f"it did not start: {outcome.refusal}"[:500]
    if outcome.killed_by:
        return f"it went above its limit: {outcome.killed_by}"
    words = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    return f"exit code {outcome.code}: {words[-1] if words else 'no output'}"[:500]


if __name__ == "__main__":
    sys.exit(main())

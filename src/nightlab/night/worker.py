"""The night's worker: `python -P -m nightlab.night.worker LAUNCH.json`, one run of one night in a process of its own.

It needs nobody: without its supervisor it goes on, wraps up and leaves. Beside the launch file it writes outcome.json:
the result, or the error that kept it from running.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightlab.errors import NightlabError
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.night.options import Launch, named
from nightlab.processes import Lasting

LAUNCH, OUTCOME, LOG = "launch.json", "outcome.json", "log.txt"


def work(launch: Launch) -> dict[str, Any]:
    """Run the night of a launch to its end; its result and whether it was only closed. Raises NightlabError."""
    with Lasting():
        from nightlab.night.night import run_one

    lab = Lab.open(Path(launch.lab), launch.flags)
    make = named(launch.brain)
    brain = make() if make else None
    outcome = run_one(lab, launch.night, launch.options(), brain=brain, heard=launch.heard, worker=True)
    return {"result": asdict(outcome.result), "only_closed": outcome.only_closed}


def error_of(said: dict[str, Any]) -> NightlabError:
    """The error that kept a worker from running, as if it had been raised where its outcome is read."""
    error = NightlabError(said["what"], where=said["where"], hint=said["hint"])
    error.exit_code = int(said["code"])
    return error


def main(file: Path) -> int:
    """Run a launch file; the exit code is 0 where the night is over, else the error's."""
    code = 0
    try:
        told = work(Launch(**json.loads(file.read_text("utf-8"))))
    except NightlabError as error:
        told = {"error": {"what": error.what, "where": error.where, "hint": error.hint, "code": error.exit_code}}
        print(error, file=sys.stderr)  # noqa: T201 - the worker's log
        code = error.exit_code
    write_atomic(file.with_name(OUTCOME), json.dumps(told))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

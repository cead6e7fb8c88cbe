"""`nightlab run --detach`: the same run in a session of its own, which no closed terminal ends, with a log.

The launcher prints one JSON record when the night is really up: it began, and its heart beats. The last line of the log
is the done record. `python -P -m nightlab.cli.detached FILE` is the run itself.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nightlab.errors import NightlabError
from nightlab.lab import Lab

if TYPE_CHECKING:
    from nightlab.night import Options, Result

PATIENCE = 120.0  # seconds that a night may take to be up
ENDING = 60.0  # seconds that one which is not up may take to leave
LOOK = 0.1


def detached(lab: Lab, options: Options, flags: Mapping[str, Any], brain: str | None) -> None:
    """Start the run in the background and print its launch record; raises NightlabError where nothing runs."""
    from nightlab.files import write_atomic
    from nightlab.night.lock import orphan
    from nightlab.night.options import deadline

    timed = options.until is not None or options.hours is not None
    fixed = replace(options, until=None, hours=None, deadline=deadline(options, lab) if timed else None)
    asked = {"lab": str(lab.root), "options": asdict(fixed), "flags": dict(flags), "brain": brain}
    log = lab.worker / "run.log"
    write_atomic(lab.worker / "run.json", json.dumps(asked))
    left = orphan(lab)
    before = {name: _begins(lab, name) for name in lab.night_names()[-1:]}
    lab.heartbeat.unlink(missing_ok=True)
    argv = [sys.executable, "-P", "-m", "nightlab.cli.detached", str(lab.worker / "run.json")]
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=lab.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    night = _up(lab, process, before, left.night if left else None)
    if night is None:
        raise NightlabError(f"nothing runs: {_end(process, log)}", where=log, hint="the log says more")
    record = {"night": night, "pid": process.pid, "log": str(log), "events": str(lab.night(night) / "events.jsonl")}
    click.echo(json.dumps(record))


def _up(lab: Lab, process: subprocess.Popen[bytes], before: Mapping[str, int], left: str | None) -> str | None:
    """The night that is up, or None where the run ended without one or took too long.

    A night that was `left` running without a supervisor is up when this run watches it.
    """
    from nightlab.night.lock import living_holder

    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        over = process.poll() is not None
        holder, night = living_holder(lab.supervisor), lab.latest_night()
        began = night is not None and _begins(lab, night) > before.get(night, 0)
        taken = night == left and (over or (holder is not None and holder.pid == process.pid))
        if (began or taken) and lab.heartbeat.exists():
            return night
        if over:
            return None
        time.sleep(LOOK)
    return None


def _begins(lab: Lab, night: str) -> int:
    """How often a night began or went on."""
    from nightlab.events import EventLog

    return sum(row["kind"] in ("night_started", "night_resumed") for row in EventLog(lab.night(night)).read())


def _end(process: subprocess.Popen[bytes], log: Path) -> str:
    """End a run that is not up; why it is not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return f"the night was not up after {PATIENCE:.0f} s, and was ended"
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    try:
        return str(json.loads(lines[-1])["reason"])
    except (IndexError, ValueError, KeyError, TypeError):
        return lines[-1][:300] if lines else f"the run left with exit code {process.returncode}"


def main(file: Path) -> int:
    """Run a night in this process's foreground, one plain line per event; the last line is the done record."""
    from nightlab.cli.ending import BRIEF, exit_code
    from nightlab.cli.live import shown
    from nightlab.night import Options
    from nightlab.night.launching import run_supervised

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked = json.loads(file.read_text("utf-8"))
    try:
        lab = Lab.open(Path(asked["lab"]), asked["flags"])
        options = Options(**asked["options"])
        with shown(plain=True) as watch:
            result = run_supervised(
                lab, options, brief=BRIEF, brain=asked["brain"], flags=asked["flags"], on_event=watch
            )
    except NightlabError as error:
        click.echo(_done(None, "failed", str(error), 0.0, 0.0))
        return error.exit_code
    click.echo(_record(result))
    return exit_code(result)


def _record(result: Result) -> str:
    return _done(result.night, result.state, result.reason, result.seconds, result.usd)


def _done(night: str | None, state: str, reason: str, seconds: float, usd: float) -> str:
    """The done record: one line of JSON."""
    row = {"night": night, "state": state, "reason": reason, "seconds": round(seconds, 1), "usd": usd}
    return json.dumps(row, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

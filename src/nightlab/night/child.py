"""One worker as a process: from a frozen launch file, in a session of its own, with a log and an outcome.

A child was started here; an adopted worker was started by a supervisor that is gone, and is watched just the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.night.lock import Holder
from nightlab.night.options import Launch
from nightlab.night.worker import LAUNCH, LOG, OUTCOME


class Child:
    """A worker that runs, or ran."""

    _process: subprocess.Popen[bytes] | None = None

    def __init__(self, lab: Lab, launch: Launch) -> None:
        self._lab = lab
        for left in (lab.worker / OUTCOME, lab.heartbeat):
            left.unlink(missing_ok=True)
        write_atomic(lab.worker / LAUNCH, json.dumps(asdict(launch)))
        argv = [sys.executable, "-P", "-m", "nightlab.night.worker", str(lab.worker / LAUNCH)]
        with (lab.worker / LOG).open("ab") as out:
            process = subprocess.Popen(
                argv, cwd=lab.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._process, self._pid = process, process.pid
        self._fd = os.pidfd_open(self._pid)

    def gone(self, seconds: float) -> bool:
        """Whether it has left, after waiting so long at most."""
        return bool(select.select([self._fd], [], [], seconds)[0])

    def ask(self) -> None:
        """Ask it to end: it finishes its step and wraps up; asked again, it cancels its step."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything that it started and did not detach; the last thing that is done to it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        select.select([self._fd], [], [])
        if self._process:
            self._process.wait()
        os.close(self._fd)

    def heart(self) -> int | None:
        """A number that changes with every heartbeat; None before the first."""
        try:
            return self._lab.heartbeat.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def outcome(self) -> dict[str, Any]:
        """What it left behind: `result` and `only_closed`, or `error`; empty where it was cut off."""
        try:
            return dict(json.loads((self._lab.worker / OUTCOME).read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def why(self) -> str:
        """How it left, in a few words."""
        if self._process is None:
            return "its process is gone"  # only a parent is told how
        code = self._process.wait()
        if code < 0:
            return f"killed by signal {-code}"
        lines = (self._lab.worker / LOG).read_text("utf-8", errors="replace").strip().splitlines()
        return f"it left with exit code {code}" + (f": {lines[-1][:300]}" if lines else "")


class Adopted(Child):
    """A worker that outlived its supervisor. Raises ProcessLookupError where it has just left.

    What an earlier launch left as an outcome is taken away; a worker's own is written behind its night's last event.
    """

    def __init__(self, lab: Lab, holder: Holder) -> None:
        self._lab, self._pid = lab, holder.pid
        self._fd = os.pidfd_open(holder.pid)
        (lab.worker / OUTCOME).unlink(missing_ok=True)

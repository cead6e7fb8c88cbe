"""One worker as a child process: from a frozen launch file, in a session of its own, with a log and an outcome."""

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
from nightlab.night.options import Launch
from nightlab.night.worker import LAUNCH, LOG, OUTCOME


class Child:
    """A worker that runs, or ran."""

    def __init__(self, lab: Lab, launch: Launch) -> None:
        self._lab = lab
        for left in (lab.worker / OUTCOME, lab.heartbeat):
            left.unlink(missing_ok=True)
        write_atomic(lab.worker / LAUNCH, json.dumps(asdict(launch)))
        argv = [sys.executable, "-P", "-m", "nightlab.night.worker", str(lab.worker / LAUNCH)]
        with (lab.worker / LOG).open("ab") as out:
            self._process = subprocess.Popen(
                argv, cwd=lab.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def gone(self, seconds: float) -> bool:
        """Whether it has left, after waiting so long at most."""
        if self._process.poll() is None:
            fd = os.pidfd_open(self._process.pid)
            select.select([fd], [], [], seconds)
            os.close(fd)
        return self._process.poll() is not None

    def ask(self) -> None:
        """Ask it to end: it finishes its step and wraps up; asked again, it cancels its step."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and everything that it started and did not detach."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

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
        code = self._process.returncode
        if code < 0:
            return f"killed by signal {-code}"
        lines = (self._lab.worker / LOG).read_text("utf-8", errors="replace").strip().splitlines()
        return f"it left with exit code {code}" + (f": {lines[-1][:300]}" if lines else "")

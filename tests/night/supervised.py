"""Supervised nights for tests: a lab with a tool that lingers, and a supervisor that runs in a thread."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightlab.events import EventLog
from nightlab.lab import Lab, look_up
from nightlab.night.clocks import Clocks, Patience
from nightlab.night.lock import living_holder
from nightlab.night.options import Launch, Result, new_night
from nightlab.night.supervisor import Supervisor
from tests.night.conftest import make_lab

ROOT = Path(__file__).parents[2]
HASTE = Patience(stuck=60, grace=2.0, drain=30.0, pause=0.1, restarts=2)
LINGER = """
import asyncio
from typing import Any

from nightlab.toolbox import ToolContext, tool


@tool(effect="read")
async def linger(ctx: ToolContext, seconds: float) -> dict[str, Any]:
    '''Wait until the file go is there, or the seconds are over.

    Args:
        seconds: At most so many.

    Returns:
        nothing.
    '''
    left = seconds
    while left > 0 and not (ctx.lab.root / ".nightlab" / "go").exists():
        await asyncio.sleep(0.05)
        left -= 0.05
    return {}
"""


def lingering_lab(root: Path, table: str = "") -> Lab:
    """A lab whose orchestrator can linger."""
    lab = make_lab(root, table=table)
    lab.agents.mkdir()
    lab.tools.mkdir()
    (lab.tools / "linger.py").write_text(LINGER)
    agent = look_up(lab, "agents", "orchestrator.md").path.read_text().replace("tools:", "tools:\n  - linger", 1)
    (lab.agents / "orchestrator.md").write_text(agent)
    return lab


class Supervised:
    """A night under a supervisor in a thread of this process."""

    def __init__(
        self,
        lab: Lab,
        brain: str,
        *,
        patience: Patience = HASTE,
        clocks: Clocks | None = None,
        hours: float = 1.0,
        night: str | None = None,
        heard: int = 0,
    ) -> None:
        self.lab, self.night = lab, night or new_night(lab)
        self.result: Result | None = None
        self.error: Exception | None = None
        launch = Launch(
            str(lab.root),
            self.night,
            deadline=time.time() + 3600 * hours if night is None else None,
            brain=f"tests.night.brains:{brain}",
            heard=heard,
        )
        self.supervisor = Supervisor(lab, launch, patience=patience, clocks=clocks)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = self.supervisor.run()
        except Exception as error:  # noqa: BLE001 - the test's own thread gets it
            self.error = error

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [row for row in EventLog(self.lab.night(self.night)).read() if row["kind"] == kind]

    def lingers(self, times: int = 1) -> None:
        """Return when the worker is in its tool, in its so-manieth life."""
        wait(lambda: self.over() or (bool(self.rows("tool_started")) and len(self.lives()) >= times))
        assert not self.over(), (self.error, self.result)

    def over(self) -> bool:
        """Whether the supervisor has ended."""
        return not self.thread.is_alive()

    def lives(self) -> list[dict[str, Any]]:
        """The starts of the night."""
        return self.rows("night_started") + self.rows("night_resumed")

    def pid(self) -> int:
        """The worker."""
        holder = living_holder(self.lab.lock)
        assert holder is not None
        return holder.pid

    def go(self) -> None:
        """Let the tool return."""
        go(self.lab)

    def end(self, seconds: float = 60.0) -> Result:
        """The result, within so many seconds."""
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error
        assert self.result is not None
        return self.result


def go(lab: Lab) -> None:
    """Let the tool return."""
    (lab.cache / "go").touch()


def wait(met: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition."""
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def command(lab: Lab, *words: str, brain: str = "lingering") -> subprocess.Popen[str]:
    """Start `nightlab ...` in a lab."""
    argv = [sys.executable, "-m", "nightlab", *words]
    argv += ["--brain-from", f"tests.night.brains:{brain}"] if words[0] == "run" else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv, cwd=lab.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_night(lab: Lab) -> subprocess.Popen[bytes]:
    """`nightlab run`, in a session of its own; what it says is in a file beside the lab."""
    words = [sys.executable, "-m", "nightlab", "--lab", str(lab.root), "run", "--hours", "1", "--plain"]
    with lab.root.with_suffix(".log").open("ab") as out:
        return subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)


def end_of_night(lab: Lab, night: subprocess.Popen[bytes] | None = None) -> None:
    """Run a night, or one that runs, to its end; what it said last is in the failure where it did not end well."""
    code = (night or start_night(lab)).wait(timeout=240)
    said = lab.root.with_suffix(".log").read_text("utf-8", errors="replace").splitlines()
    assert code in (0, 3), "\n".join([f"exit code {code}", *said[-60:]])


def kill_night(lab: Lab, night: subprocess.Popen[bytes]) -> None:
    """Kill -9 of the supervisor, and of the worker that would go on without it."""
    os.killpg(night.pid, signal.SIGKILL)
    night.wait()
    while holder := living_holder(lab.lock):
        os.kill(holder.pid, signal.SIGKILL)
        time.sleep(0.05)

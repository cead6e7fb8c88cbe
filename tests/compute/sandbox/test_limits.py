"""Limits and ends: time, memory, processes, files, output; and nothing is left running, whoever dies first."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab import processes
from nightlab.compute.sandbox.ladder import Level
from nightlab.compute.sandbox.run import Limits
from tests.compute.sandbox.conftest import Run

pytestmark = pytest.mark.real
MIB = 1 << 20


def running(sign: str) -> list[int]:
    """The processes, other than this one, with a word on their command line."""
    found = []
    for pid in processes.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if sign.encode() in words and pid != os.getpid():
            found.append(pid)
    return found


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


async def test_a_daemon_does_not_outlive_its_command(sandboxed: Run) -> None:
    done = await sandboxed(
        "setsid nohup sleep 71.25 >/dev/null 2>&1 & (setsid sleep 71.25 &); (trap '' TERM; sleep 71.25) & sleep 0.2"
    )
    assert (done.status, done.left) == ("ok", 0)
    assert running("71.25") == []


async def test_time(sandboxed: Run) -> None:
    began = time.monotonic()
    done = await sandboxed("trap '' TERM INT; echo before; sleep 72.25; echo after", Limits(seconds=1))
    assert (done.status, done.killed_by, done.timed_out) == ("timed_out", "time", True)
    assert done.output == "before\n"
    assert time.monotonic() - began < 30
    assert running("72.25") == []


async def test_too_many_processes(sandboxed: Run, root: Path) -> None:
    """Not a bomb that doubles: at most 300 children that end by themselves."""
    (root / "notes.md").write_text(
        "import os, time\nfor n in range(300):\n    if os.fork() == 0:\n        time.sleep(5)\n        os._exit(0)\n"
        "time.sleep(5)\n"
    )
    done = await sandboxed("exec python notes.md processes-of-the-test", Limits(seconds=20, processes=40))
    assert (done.status, done.killed_by, done.left) == ("limited", "processes", 0)
    assert running("processes-of-the-test") == []


async def test_memory(sandboxed: Run) -> None:
    """At most 800 MB, a tenth of a second apart."""
    script = "import time; x = [(bytearray(b'x') * (40 << 20), time.sleep(0.1)) for _ in range(20)]; print('held')"
    done = await sandboxed(f'exec python -c "{script}"', Limits(seconds=30, memory=150 * MIB))
    assert (done.status, done.killed_by) == ("limited", "memory")
    assert 150 * MIB < done.peak < 400 * MIB


async def test_files_that_are_too_big(sandboxed: Run, root: Path) -> None:
    limits = Limits(seconds=20, file_size=4 * MIB)
    done = await sandboxed("exec head -c 20000000 /dev/zero > experiments/exp_002_open/big", limits)
    assert (done.status, done.killed_by) == ("limited", "file_size")
    sparse = await sandboxed("truncate -s 10G experiments/exp_002_open/sparse; true", limits)
    assert sparse.code is not None
    assert max(p.stat().st_size for p in (root / "experiments" / "exp_002_open").iterdir()) <= 4 * MIB


async def test_the_temporary_folder_has_a_quota(sandboxed: Run, level: Level) -> None:
    """bwrap's is a file system that is full; elsewhere the keeper looks twice a second."""
    command = "for n in 1 2 3 4; do head -c 4000000 /dev/zero > $TMPDIR/$n || exit 9; done; sleep 3"
    done = await sandboxed(command, Limits(seconds=20, tmp=8 * MIB))
    assert (done.code == 9 and "No space left" in done.output) if level == "bwrap" else done.killed_by == "disk"


async def test_a_flood_of_output(sandboxed: Run) -> None:
    done = await sandboxed("echo first; head -c 100000000 /dev/zero | tr '\\0' a", Limits(seconds=30, output=2000))
    assert (done.status, done.killed_by) == ("limited", "output")
    assert done.output.startswith("first\n")
    assert len(done.output) < 2100
    assert "[cut: " in done.output
    short = await sandboxed("seq 1 2000; echo last", Limits(output=400))
    assert short.status == "ok"
    assert short.output.endswith("last\n")
    assert f"of {short.bytes} bytes]" in short.output


async def test_a_caller_that_gives_up_leaves_nothing(sandboxed: Run) -> None:
    waiting = asyncio.ensure_future(sandboxed("exec sleep 73.25"))
    async with asyncio.timeout(10):
        while not running("73.25"):  # noqa: ASYNC110 - another process is looked for
            await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert running("73.25") == []


def test_a_night_that_is_killed_leaves_nothing(root: Path, level: Level) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from nightlab.compute.sandbox.run import run\nfrom nightlab.compute.sandbox.scope import Scope\n"
        "scope = Scope.of(Path(sys.argv[1]), [])\n"
        "asyncio.run(run('setsid nohup sleep 74.25 & sleep 74.25', scope, level=sys.argv[2]))\n"
    )
    night = subprocess.Popen([sys.executable, "-c", script, str(root), level])
    until(lambda: len(running("74.25")) >= 2)
    night.send_signal(signal.SIGKILL)
    night.wait()
    until(lambda: running("74.25") == [])


async def test_a_command_that_cannot_start(sandboxed: Run, level: Level) -> None:
    done = await sandboxed("no-such-program")
    assert (done.status, done.code) == ("failed", 127)
    assert "not found" in done.output

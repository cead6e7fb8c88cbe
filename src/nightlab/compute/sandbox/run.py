"""Run one command in the sandbox: under a keeper, within a scope and limits, its output bounded while it is read.

The keeper is a process of its own between this one and the command; its stdin is the thread it hangs on: when this
process ends, however it ends, the keeper ends the command's whole tree. Output is data: it is decoded, bounded, and
never interpreted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nightlab
from nightlab.compute.sandbox import bwrap, kernel, places
from nightlab.compute.sandbox.ladder import Ladder, Level, probe
from nightlab.compute.sandbox.scope import Scope

Network = Literal["none", "loopback", "all"]
Status = Literal["ok", "failed", "timed_out", "limited", "not_started", "lost"]
KilledBy = Literal["time", "memory", "processes", "disk", "output", "file_size", "owner"]
GIB = 1 << 30
_GRACE = 30.0  # seconds beyond the time limit that the keeper itself may take
_FLOOD = 64 << 20  # bytes of output after which a command is ended
_LEAST_FREE = 512 << 20  # bytes that stay free on the lab's disk
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PASSED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SOURCE = str(Path(nightlab.__file__).parents[1])
_START = f"import sys; sys.path.append({_SOURCE!r}); from nightlab.compute.sandbox.keeper import main; main()"
_KEEPER = (sys.executable, "-I", "-S", "-c", _START)


@dataclass(frozen=True)
class Limits:
    """What one command may use. Memory is resident memory of the whole tree: address space says nothing for torch."""

    seconds: float = 120.0
    memory: int = 4 * GIB
    file_size: int = GIB
    processes: int = 256
    output: int = 16_000
    tmp: int = GIB


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: Status
    output: str
    """stdout and stderr together, the beginning and the end of it; a cut is said in place."""
    level: Level
    network: Network
    code: int | None = None
    killed_by: KilledBy | None = None
    seconds: float = 0.0
    bytes: int = 0
    """How much it wrote in all."""
    peak: int = 0
    """The most memory that was seen, in bytes."""
    left: int = 0
    """Processes that could not be ended."""
    refusal: str = ""

    @property
    def timed_out(self) -> bool:
        """Whether the time limit ended it."""
        return self.killed_by == "time"


async def run(
    command: str | Sequence[str],
    scope: Scope,
    limits: Limits | None = None,
    *,
    level: Level,
    network: Network = "none",
    ports: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    ladder: Ladder | None = None,
) -> Outcome:
    """Run shell text or an argv in the lab's root at a level that is available; a failing command is no error.

    `network` none, loopback (TCP to `ports` of this machine, where it can be enforced, else none) or all.
    `env` is added to the few variables that every command gets.
    """
    limits, ladder = limits or Limits(), ladder or probe()
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else [*command]
    if network == "loopback" and level != "none" and ladder.abi < 4:
        network = "none"
    order = _order(argv, scope, limits, level, network, ports, env or {}, ladder)
    process = await asyncio.create_subprocess_exec(
        *_KEEPER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )
    output = _Output(limits.output)
    try:
        report = await _attend(process, order, output, limits)
    finally:
        await _release(process)
    return _outcome(report, output, level, network)


async def _attend(
    process: asyncio.subprocess.Process, order: dict[str, Any], output: _Output, limits: Limits
) -> dict[str, Any]:
    """Give the keeper its order and read until it is done; its report, empty where it was killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(ConnectionError):  # a keeper that is gone already: its missing report says so
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
    reading = asyncio.ensure_future(process.stderr.read(1 << 16))
    try:
        async with asyncio.timeout(limits.seconds + _GRACE):
            while piece := await process.stdout.read(1 << 16):
                if not output.add(piece):
                    process.stdin.close()
            said = await reading
    except TimeoutError:
        said = b""
    finally:
        reading.cancel()
    try:
        report: dict[str, Any] = json.loads(said)
    except ValueError:
        return {}
    return report


async def _release(process: asyncio.subprocess.Process) -> None:
    """Let go of the keeper, which then ends what still runs, and wait until it is gone."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE):
            await _drained(process)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _drained(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()


def _order(
    argv: list[str],
    scope: Scope,
    limits: Limits,
    level: Level,
    network: Network,
    ports: Sequence[int],
    env: Mapping[str, str],
    ladder: Ladder,
) -> dict[str, Any]:
    """What the keeper is told: the argv with its doors, and the limits."""
    order: dict[str, Any] = {
        "cwd": str(scope.root),
        "root": str(scope.root),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "processes": limits.processes + (3 if level == "bwrap" else 0),
        "tmp_bytes": limits.tmp,
        "least_free": min(_LEAST_FREE, shutil.disk_usage(scope.root).free // 2),
        "rlimits": {"FSIZE": limits.file_size, "CORE": 0, "NOFILE": 4096, **_process_limit(limits)},
    }
    loopback = kernel.ports(ports, ladder.abi) if network == "loopback" and level != "none" else None
    if level == "bwrap":
        words = environment(env, "/tmp")
        line = bwrap.command_line(ladder.program, scope, argv, words, network=network != "none", tmp_bytes=limits.tmp)
        calls = kernel.call_filter(
            kernel.EVERYTHING, streams_only=bool(loopback), freeze_modes=False, no_truncate=False
        )
        return order | {"argv": line, "env": {"PATH": os.defpath}, "bwrap_filter": calls.hex(), "landlock": loopback}
    tmp = tempfile.mkdtemp(prefix="nightlab-command-")
    order |= {"argv": argv, "env": environment(env, tmp), "tmp": tmp, "own_processes": os.geteuid() == 0}
    return order if level == "none" else order | _landlock(scope, tmp, network, loopback, ladder)


def _landlock(
    scope: Scope, tmp: str, network: Network, loopback: dict[str, Any] | None, ladder: Ladder
) -> dict[str, Any]:
    """The doors of the level `landlock`."""
    devices = [Path(name) for name in _DEVICES]
    reading = [*places.system(), *places.tools(scope.root), *scope.readable_parts(), Path("/proc"), *devices]
    rules = kernel.files(reading, [scope.root], [*scope.open_parts(), Path(tmp), *devices], ladder.abi)
    if loopback:
        rules |= {"net": loopback["net"], "ports": loopback["ports"]}
    families = {"none": (), "loopback": (kernel.INET, kernel.INET6), "all": kernel.EVERYTHING}[network]
    calls = kernel.call_filter(
        families, streams_only=network == "loopback", freeze_modes=True, no_truncate=ladder.abi < 3
    )
    return {"landlock": rules, "filter": calls.hex(), "drop": True}


def _process_limit(limits: Limits) -> dict[str, int]:
    """The kernel's own limit counts all threads of a user, and none of root's: there the keeper's look stands alone."""
    if os.geteuid() == 0:
        return {}
    mine = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                mine += entry.stat().st_uid == os.geteuid()
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    wanted = 4 * mine + 4 * limits.processes  # it counts threads: four for each process
    return {"NPROC": wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)}


def environment(added: Mapping[str, str], tmp: str) -> dict[str, str]:
    """The few variables that a command gets: none that could be a secret."""
    kept = {name: os.environ[name] for name in _PASSED if name in os.environ}
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    )
    fixed = {"PATH": path, "HOME": tmp, "TMPDIR": tmp, "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}
    return {"LANG": "C.UTF-8"} | kept | fixed | {"GIT_TERMINAL_PROMPT": "0", "MPLBACKEND": "Agg"} | dict(added)


class _Output:
    """The beginning and the end of what a command writes, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, piece: bytes) -> bool:
        """Take a piece; False where it is too much in all."""
        self.total += len(piece)
        room = self._half - len(self._head)
        self._head += piece[: max(0, room)]
        self._tail += piece[max(0, room) :]
        if len(self._tail) > self._half:
            del self._tail[: -self._half]
        return self.total <= _FLOOD

    def text(self) -> str:
        """What is kept, as text; a cut is said where it is."""
        lost = self.total - len(self._head) - len(self._tail)
        if not lost:
            return bytes(self._head + self._tail).decode("utf-8", "replace")
        head, tail = self._head.decode("utf-8", "replace"), self._tail.decode("utf-8", "replace")
        return f"{head}\n[cut: {lost} of {self.total} bytes]\n{tail}"


def _outcome(report: Mapping[str, Any], output: _Output, level: Level, network: Network) -> Outcome:
    code, killed_by = report.get("code"), report.get("killed_by")
    if output.total > _FLOOD:
        killed_by = "output"
    elif killed_by is None and code in (-25, 128 + 25):
        killed_by = "file_size"
    status: Status = "ok" if code == 0 else "failed"
    if not report:
        status = "lost"
    elif report.get("refusal"):
        status = "not_started"
    elif killed_by:
        status = "timed_out" if killed_by == "time" else "limited"
    numbers = {"seconds": report.get("seconds", 0.0), "peak": report.get("peak", 0), "left": report.get("left", 0)}
    said = {"refusal": report.get("refusal", ""), "bytes": output.total}
    return Outcome(status, output.text(), level, network, code, killed_by, **numbers, **said)

"""Which containment this machine really gives, found out once by trying; and what each level covers, in sentences."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightlab.compute.sandbox import kernel
from nightlab.errors import NotSetUp

Level = Literal["bwrap", "landlock", "none"]
LEVELS: tuple[Level, ...] = ("bwrap", "landlock", "none")
COVERS: dict[Level, str] = {
    "bwrap": "Commands see only the system's programs, Python and the lab, write only where the agent may, have no "
    "network, no view of other processes and no secrets, and end whole.",
    "landlock": "Commands read only the system's programs, Python and the lab, write only where the agent may, have no "
    "sockets, cannot look into or signal other processes, and end whole.",
    "none": "Commands have limits and an environment without secrets, and end with everything they started.",
}
MISSES: dict[Level, str] = {
    "bwrap": "It does not protect from holes in the kernel, and the writable folders can be filled "
    "up to the disk's floor.",
    "landlock": "Other processes' command lines can be seen, new files fit only into folders that hold no record, a "
    "keeper that the system kills leaves daemons behind, and holes in the kernel are not covered.",
    "none": "They can read and write everything that you can, your keys and this program's memory too, reach every "
    "network and, unless nightlab runs as root, end your other processes.",
}
INSTALL = "install bubblewrap (Debian, Ubuntu: apt install bubblewrap)"
_PROBE = ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc")
_PROBE_SECONDS = 10


@dataclass(frozen=True)
class Ladder:
    """What was found: the best level, and why each better one is not there."""

    level: Level
    program: str
    """The path of bwrap, or the empty text."""
    abi: int
    """The version of Landlock, 0 without it."""
    missing: dict[str, str]

    def available(self, level: Level) -> bool:
        """Whether commands can be contained at this level here."""
        return level == "none" or level not in self.missing

    def choose(self, wanted: str) -> Level:
        """The level for the setting `containment` (any, landlock, bwrap, none). Raises NotSetUp where it is not here.

        `landlock` asks for that level at least; `any` for the best that is not `none`.
        """
        if wanted == "none":
            return "none"
        acceptable: tuple[Level, ...] = ("bwrap",) if wanted == "bwrap" else ("bwrap", "landlock")
        for level in acceptable:
            if self.available(level):
                return level
        why = "; ".join(f"{level}: {self.missing[level]}" for level in acceptable)
        raise NotSetUp(f"this machine does not give the containment that commands need ({why})", hint=INSTALL)


@functools.cache
def probe() -> Ladder:
    """What this machine gives; found out by trying, once for each process."""
    missing: dict[str, str] = {}
    program = shutil.which("bwrap") or ""
    if why := _without_bwrap(program):
        missing["bwrap"] = why
    version = kernel.abi()
    if why := _without_landlock(version):
        missing["landlock"] = why
    level: Level = next((one for one in LEVELS if one == "none" or one not in missing), "none")
    return Ladder(level, "" if "bwrap" in missing else program, 0 if "landlock" in missing else version, missing)


def describe_level(containment: str = "any") -> dict[str, str]:
    """The level that commands get under this setting, in sentences: level, covers, misses, and why no better one.

    Where the setting asks for more than the machine gives, `refused` says so.
    """
    found = probe()
    why = "; ".join(f"no {level}: {reason}" for level, reason in found.missing.items())
    try:
        level = found.choose(containment)
    except NotSetUp as error:
        return {"level": "none", "covers": "", "misses": "", "why": why, "refused": error.what}
    return {"level": level, "covers": COVERS[level], "misses": MISSES[level], "why": why, "refused": ""}


def _without_bwrap(program: str) -> str:
    """Why bubblewrap cannot be used, or the empty text."""
    if not sys.platform.startswith("linux") or not kernel.knows_machine():
        return "only Linux on x86-64 or aarch64 is known"
    if not program:
        return "bubblewrap is not installed"
    try:
        done = subprocess.run(
            [program, *_PROBE, "--", "/bin/sh", "-c", "exit 7"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            env={"PATH": "/usr/bin:/bin"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start: {error}"
    if done.returncode == 7:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"bubblewrap fails: {said[-1][:200] if said else f'exit code {done.returncode}'}"


def _without_landlock(version: int) -> str:
    """Why Landlock cannot be used, or the empty text."""
    if not kernel.knows_machine():
        return "only x86-64 and aarch64 are known"
    if version < kernel.LEAST_ABI:
        return "the kernel does not enforce Landlock"
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return "" if actions.exists() else "the kernel has no filter of system calls"

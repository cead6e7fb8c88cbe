"""Slurm as a lab's settings have it, and what has to be right there before a night."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nightlab.compute.reach import Ways
from nightlab.compute.slurm import OPTIONS, Slurm
from nightlab.compute.slurm_queue import INSTALL, NEEDED, SlurmQueue, run
from nightlab.errors import NightlabError
from nightlab.lab import Lab
from nightlab.settings import NOTHING

Finding = tuple[bool, str, str]
"""Whether it is right, one sentence, and what to do."""


@cache
def _queue() -> SlurmQueue:
    """The one look at the queue that a process takes for all labs and jobs."""
    return SlurmQueue()


def of_lab(lab: Lab) -> Slurm:
    """Slurm as a lab's settings have it. Raises UsageError."""
    config = lab.config
    said = {name: str(getattr(config, f"slurm_{name}")) for name in (*OPTIONS, "flags")}
    asked = {name: value for name, value in said.items() if value != NOTHING}
    python = sys.executable if config.slurm_python == NOTHING else config.slurm_python
    ssh_config = None if config.ssh_config == NOTHING else str(Path(config.ssh_config).expanduser())
    ways = Ways.of(config.slurm_reach, ssh_config)
    return Slurm(lab.jobs, asked, python, _queue(), ways, config.slurm_warning_seconds)


def inspect(lab: Lab) -> Iterator[Finding]:
    """Each thing with what to do about it; the first that is wrong ends the look."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        yield False, f"place: slurm, and {', '.join(missing)} is not on this machine", INSTALL
        return
    try:
        place = of_lab(lab)
        version = run("sinfo", "--version").stdout.strip()
        shown = run("sinfo", "-h", "-o", "%R|%a|%D|%G").stdout.split()
        words = place.words({})
        tried = run("sbatch", "--test-only", *words, "--wrap", "true")
    except NightlabError as error:
        yield False, f"place: slurm, and {error.what}", error.hint or "sinfo shows when the controller is back"
        return
    yield True, f"place: {version}; partitions {', '.join(sorted({row.split('|')[0] for row in shown})) or 'none'}", ""
    if tried.returncode:
        said = " ".join(tried.stderr.split())[:200]
        yield False, f"Slurm would refuse a job of this lab: {said}", "mend the settings slurm-* in pyproject.toml"
    else:
        yield True, f"Slurm takes a job with {' '.join(words)}", ""
    accounted = run("sacct", "-n", "-X", "-S", "now-1minutes").returncode == 0 if shutil.which("sacct") else False
    yield (
        True,
        f"accounting (sacct): {'there' if accounted else 'not there; exit files and squeue say how jobs ended'}",
        "",
    )
    if set(place.ways.order) - {"direct"} and importlib.util.find_spec("asyncssh") is None:
        yield False, "tunnels to compute nodes need asyncssh", 'pip install "nightlab[cluster]"'

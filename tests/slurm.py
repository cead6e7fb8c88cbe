"""A real Slurm for tests (tests/minislurm.sh), started once in a process and ended with it."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).with_name("minislurm.sh"))
NEEDED = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_running: list[Cluster] = []


class Cluster:
    """Two nodes, n1 and n2, with four CPUs and two fake GPUs each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"

    def do(self, *words: str) -> None:
        """One command of minislurm.sh."""
        ports = " ".join(map(str, _free_ports(3)))
        more = {"MINISLURM_PORTS": ports, "MINISLURM_OWNER": str(os.getpid()), "MINISLURM_CLIENT": "1"}
        environment = {**os.environ, **more}
        environment.pop("SLURM_CONF", None)
        done = subprocess.run(
            [SCRIPT, *words, str(self.folder)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def slurm(self, *words: str) -> str:
        """One command of Slurm; what it printed."""
        environment = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": PATH}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def missing() -> str | None:
    """Why there can be no Slurm here, or None."""
    lacking = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if lacking:
        return f"no Slurm here ({', '.join(lacking)}): apt-get install slurmctld slurmd slurm-client"
    mounted = Path("/sys/fs/cgroup").is_dir() and any(Path("/sys/fs/cgroup").iterdir())
    return None if mounted else "slurmd needs /sys/fs/cgroup, which is not mounted"


def cluster() -> Cluster:
    """The running cluster of this process; skips where Slurm is not installed, and fails there in CI."""
    if why := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    if not _running:
        one = Cluster(Path(tempfile.mkdtemp(prefix="minislurm-")))
        atexit.register(_end, one)
        one.do("up")
        _running.append(one)
    return _running[0]


def _end(one: Cluster) -> None:
    one.do("down")
    shutil.rmtree(one.folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports

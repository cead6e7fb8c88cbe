"""How this process comes to a port on a compute node: directly, by ssh through a login node, or through the job itself.

The ways are tried in their order, and one counts only if the right server answers at its end. `srun` needs no sshd that
runs on the node: a step of the job is one, for this connection alone, with keys of the lab.
"""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.compute.route import Proof, Route, at
from nightlab.compute.tunnel import Tunnel, dial, library
from nightlab.errors import NightlabError, UsageError
from nightlab.files import write_atomic

WAYS = ("direct", "ssh", "srun")
DIRECT_PATIENCE = 6.0  # seconds for the direct way to prove itself
SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Far:
    """A port of a job: its number in Slurm, its node by name and by address, and the folder for the lab's keys."""

    job: str
    node: str
    address: str
    port: int
    keys: Path


@dataclass(frozen=True)
class Ways:
    """Which ways are tried, in order, and with which ssh_config (None: the user's own)."""

    order: tuple[str, ...] = WAYS
    ssh_config: str | None = None
    sshd: str = SSHD

    @classmethod
    def of(cls, text: str, ssh_config: str | None = None) -> Ways:
        """From a setting such as `ssh,direct`. Raises UsageError."""
        order = tuple(word.strip() for word in text.split(","))
        if wrong := [word for word in order if word not in WAYS]:
            raise UsageError(f"no way {wrong[0]!r} to a server", where="slurm-reach", hint=f"known: {', '.join(WAYS)}")
        return cls(order, ssh_config)


async def reach(far: Far, ways: Ways, proves: Proof) -> Route:
    """The first way at whose end the right server answers. Raises NightlabError naming what each of them met."""
    met = []
    for way in ways.order:
        try:
            if way == "direct":
                return await _direct(far, proves)
            return await (_by_ssh if way == "ssh" else _by_srun)(far, ways, proves)
        except NightlabError as error:
            met.append(f"{way}: {error.what}")
    what = f"no way to port {far.port} of {far.node}: {'; '.join(met)}"
    raise NightlabError(what, hint="set slurm-reach and ssh-config; `ssh NODE true` should work from here")


async def _direct(far: Far, proves: Proof) -> Route:
    route = at(far.address, far.port)
    try:
        proven = await asyncio.wait_for(proves(route.url), DIRECT_PATIENCE)
    except TimeoutError:
        proven = False
    if not proven:
        raise NightlabError(f"the server does not answer at {far.address}:{far.port}")
    return route


async def _by_ssh(far: Far, ways: Ways, proves: Proof) -> Route:
    """A tunnel to the node's own loopback, by the node's name in ssh_config or DNS, else by its address."""
    options: dict[str, Any] = {"config": [ways.ssh_config]} if ways.ssh_config else {}
    try:
        return await Tunnel(dial(far.node, **options), far.port, proves=proves).open()
    except NightlabError:
        if far.address == far.node:
            raise
        return await Tunnel(dial(far.address, **options), far.port, proves=proves).open()


async def _by_srun(far: Far, ways: Ways, proves: Proof) -> Route:
    """A tunnel whose transport is a step of the job that runs an sshd for this one connection."""
    ssh = library()
    config = await asyncio.to_thread(_keys, ssh, far.keys, ways.sshd)
    step = ["srun", "-Q", f"--jobid={far.job}", "--overlap", "-N1", "-n1", "--gres=none", "--mem=0", "--unbuffered"]
    host_key = ssh.read_public_key(str(far.keys / "host_key.pub"))
    options: dict[str, Any] = {
        "proxy_command": [*step, ways.sshd, "-i", "-f", str(config)],
        "client_keys": [str(far.keys / "client_key")],
        "known_hosts": ([host_key], [], []),
        "username": getpass.getuser(),
        "config": None,
        "agent_path": None,
    }
    return await Tunnel(dial(far.node, **options), far.port, proves=proves).open()


def _keys(ssh: Any, folder: Path, sshd: str) -> Path:
    """Keys for client and host, made once for the lab, and the sshd's configuration that lets nothing else in."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("client_key", "host_key"):
        if not (folder / f"{name}.pub").exists():
            key = ssh.generate_private_key("ssh-ed25519")
            write_atomic(folder / name, key.export_private_key())
            (folder / name).chmod(0o600)
            write_atomic(folder / f"{name}.pub", key.export_public_key())
    lines = {
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "client_key.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "AllowTcpForwarding": "local",
        "PermitTTY": "no",
        "X11Forwarding": "no",
        "ForceCommand": "/bin/false",
    }
    config = folder / "sshd_config"
    write_atomic(config, "".join(f"{name} {value}\n" for name, value in lines.items()))
    return config

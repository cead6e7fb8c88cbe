"""The worked example of a third place: loaded from one file of a lab, with a real sshd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab.compute import open_place
from nightlab.compute.place import JobSpec, Place
from nightlab.errors import ConfigError
from nightlab.lab import Lab
from tests.compute.conftest import spec, until
from tests.compute.test_tunnel import SERVE, named, proof

EXAMPLE = Path(__file__).parents[2] / "docs" / "guides" / "places" / "ssh_box.py"
SSHD = "/usr/sbin/sshd"

pytestmark = pytest.mark.real


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """This machine as a box behind an sshd of its own, and the lab's place for it."""
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no sshd: apt-get install openssh-server openssh-client")
        pytest.skip("no sshd here: apt-get install openssh-server openssh-client")
    if not os.geteuid():
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("key", "hostkey"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    host = " ".join((tmp_path / "hostkey.pub").read_text().split()[:2])
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    (tmp_path / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/hostkey\nAuthorizedKeysFile {tmp_path}/key.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host gpu-box\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {tmp_path}/key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {tmp_path}/known_hosts\n"
    )
    monkeypatch.setenv("GPU_BOX_SSH_CONFIG", str(config))
    root = tmp_path / "lab"
    (root / "places").mkdir(parents=True)
    shutil.copy(EXAMPLE, root / "places")
    (root / "pyproject.toml").write_text('[tool.nightlab]\nplace = "places/ssh_box.py:box"\n')
    with subprocess.Popen([SSHD, "-D", "-f", str(tmp_path / "sshd.conf")], stderr=subprocess.DEVNULL) as server:
        place = open_place(Lab.open(root))
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield place
        for job in place.jobs():
            job.stop(grace=0.2)
        server.kill()


async def test_a_box_behind_ssh_runs_jobs_and_is_reached(box: Place, tmp_path: Path) -> None:
    assert box.name == "places/ssh_box.py:box"
    done = box.start(spec("done", "echo $SSH_CONNECTION; exit 3", tmp_path))
    until(lambda: done.state() == "failed")
    assert done.exit_code() == 3
    assert "127.0.0.1" in done.log.read_text(), "it ran over ssh"
    words = (sys.executable, "-c", SERVE, "{port}", "ours")
    server = box.start(JobSpec("server", words, str(tmp_path), lease_seconds=60, pick_port=True))
    until(lambda: server.state() == "running" and server.log.exists() and server.log.read_text())
    again = box.find("server")
    assert again is not None
    assert again.state() == "running"
    assert box.start(server.spec).id == server.id
    port = server.port()
    assert port is not None
    route = await box.reach(server, port, proof("ours"))
    assert await named(route.url) == "ours"
    await route.close()
    server.stop(grace=0.2)
    assert (server.state(), server.reason()) == ("stopped", "stopped")
    orphan = box.start(spec("orphan", "sleep 60", tmp_path, lease=0.5))
    until(lambda: orphan.state() == "stopped")
    assert orphan.reason() == "lease"


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    source = "def here(lab):\n    from nightlab.compute.local import Local\n    return Local(lab.jobs)\n"
    (tmp_path / "other.py").write_text(source)
    lab = Lab.open(tmp_path)
    for name, why in {
        "gone.py:box": "No such file",
        "other.py:there": "no attribute",
        "nowhere.at.all:box": "No module",
        "other.py:here": "calls itself 'local'",
    }.items():
        with pytest.raises(ConfigError, match=why):
            open_place(lab, name)

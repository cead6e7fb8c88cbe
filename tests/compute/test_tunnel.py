"""Tunnels over real SSH: a local port that comes back, never to a stranger, and leads where only SSH does."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from nightlab.compute.place import JobSpec
from nightlab.compute.reach import Far, Ways, reach
from nightlab.compute.route import Proof, at
from nightlab.compute.slurm import Slurm
from nightlab.compute.tunnel import Tunnel, dial
from nightlab.errors import NightlabError, UsageError
from nightlab.servers.chat import Chat, ChatError
from tests.compute.conftest import until
from tests.slurm import Cluster

NETLAB = str(Path(__file__).parents[1] / "netlab.sh")
NEEDED = ("ip", "nft", "nsenter", "ssh-keygen", "sshd")
SERVE = """
import http.server, json, sys
class Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": sys.argv[2]}]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Models)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Gate(asyncssh.SSHServer):
    """Lets everybody in and forwards everything."""

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, *where: object) -> bool:
        return True


class Door:
    """An SSH server in this process that can be shut and opened again at its port."""

    def __init__(self) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self._server: asyncssh.SSHAcceptor | None = None
        self._inside: list[asyncssh.SSHServerConnection] = []

    async def open(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1", self.port, server_host_keys=[self.key], server_factory=Gate, acceptor=self._inside.append
        )
        self.port = self._server.get_port()

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._inside:
            connection.abort()
        self._inside.clear()

    def dial(self) -> Callable[[], object]:
        known: tuple[list[object], list[object], list[object]] = ([self.key.convert_to_public()], [], [])
        return dial("127.0.0.1", port=self.port, known_hosts=known, username="ada", config=None, client_keys=None)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    one = Door()
    await one.open()
    yield one
    await one.shut()


async def served(name: list[str]) -> tuple[asyncio.Server, int]:
    """A far server that calls itself by the last of the names."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        body = f'{{"data": [{{"id": "{name[-1]}"}}]}}'
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def proof(name: str) -> Proof:
    async def proves(url: str) -> bool:
        return await named(url) == name

    return proves


async def named(url: str) -> str | None:
    async with Chat(url, limit=1) as chat:
        try:
            return (await chat.models(timeout=5))[0].id
        except ChatError:
            return None


async def comes(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the tunnel itself tells nobody
            await asyncio.sleep(0.05)


async def test_a_tunnel_comes_back_at_its_port_and_only_to_its_own_server(door: Door) -> None:
    name = ["ours"]
    server, port = await served(name)
    tunnel = await Tunnel(door.dial(), port, proves=proof("ours")).open()  # type: ignore[arg-type]
    first = tunnel.url
    async with Chat(tunnel) as chat:
        assert (await chat.models())[0].id == "ours"
        await door.shut()
        await comes(lambda: tunnel.trouble)
        with pytest.raises(ChatError, match="connection"):
            await chat.models()
        name.append("stranger")
        await door.open()
        await comes(lambda: "another server" in (tunnel.trouble or ""))
        assert await named(first) is None, "the way to a stranger is not kept open"
        name.append("ours")
        await comes(lambda: tunnel.repairs)
        assert tunnel.url == first
        assert (await chat.models())[0].id == "ours"
        await door.shut()
        await comes(lambda: tunnel.trouble)
        squatter = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", int(first.rsplit(":", 1)[1]))
        await door.open()
        await comes(lambda: tunnel.repairs == 2)
        assert tunnel.url != first, "another one has the port now"
        assert (await chat.models())[0].id == "ours", "and who holds the tunnel follows it"
        squatter.close()
    await tunnel.close()
    assert await named(tunnel.url) is None
    server.close()


async def test_a_way_that_leads_nowhere_says_what_each_met(door: Door, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  ConnectTimeout 1\n")
    far = Far("1", "nowhere.invalid", "127.0.0.1", door.port, tmp_path / "keys")
    with pytest.raises(NightlabError, match=r"direct: the server does not answer.*ssh: no tunnel"):
        await reach(far, Ways.of("direct, ssh", str(config)), proof("ours"))
    with pytest.raises(UsageError, match="pigeon"):
        Ways.of("ssh,pigeon")
    server, port = await served(["ours"])
    far = Far("1", "nowhere.invalid", "127.0.0.1", port, tmp_path / "keys")
    assert (await reach(far, Ways.of("direct,ssh"), proof("ours"))).url == at("127.0.0.1", port).url
    server.close()
    assert at("::1", 8000).url == "http://[::1]:8000"


@pytest.mark.real
async def test_a_server_is_reached_through_its_own_job(cluster: Cluster, queue: Slurm, tmp_path: Path) -> None:
    place = Slurm(queue.folder, queue=queue.queue, ways=Ways(("srun",)))
    job = place.start(JobSpec("http", (sys.executable, "-c", SERVE, "{port}", "ours"), str(tmp_path), pick_port=True))
    until(lambda: job.log.exists() and job.log.read_text().strip())
    port = job.port()
    assert port is not None
    route = await place.reach(job, port, proof("ours"))
    assert await named(route.url) == "ours"
    with pytest.raises(NightlabError, match="another server answers there"):
        await place.reach(job, port, proof("theirs"))
    assert ((tmp_path / "tunnel_keys" / "client_key").stat().st_mode & 0o777) == 0o600
    await asyncio.to_thread(job.stop, 0.2)
    assert isinstance(route, Tunnel)
    await comes(lambda: route.trouble)
    await route.close()


@pytest.fixture
def netlab(tmp_path: Path) -> Iterator[Path]:
    """This machine, a login host and a compute host that only ssh through the login host reaches."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [name for name in NEEDED if shutil.which(name, path=path) is None]
    why = f"needs {', '.join(lacking)}" if lacking else "needs root" if os.geteuid() else ""
    if why and os.environ.get("CI") == "true" and not os.geteuid():
        pytest.fail(why)
    if why:
        pytest.skip(why)
    environment = {**os.environ, "PATH": path, "NETLAB_ID": str(random.randrange(1, 250))}
    folder = tmp_path / "netlab"
    subprocess.run([NETLAB, "up", str(folder)], env=environment, check=True, timeout=60)
    yield folder
    subprocess.run([NETLAB, "down", str(folder)], env=environment, check=True, timeout=60)


@pytest.fixture
def hidden(netlab: Path) -> Iterator[tuple[Path, str, int]]:
    """The lab of three machines, the way into compute's namespace, and the port of a server on its loopback."""
    there = f"--net=/run/netns/{(netlab / 'compute').read_text().strip()}"
    words = ["nsenter", there, sys.executable, "-c", SERVE, "0", "ours"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield netlab, there, int(server.stdout.readline())
        server.kill()


@pytest.mark.real
async def test_a_compute_host_behind_a_login_host_is_reached(hidden: tuple[Path, str, int]) -> None:
    netlab, there, port = hidden
    config = str(netlab / "ssh_config")
    address = next(line.split()[1] for line in (netlab / "ssh_config").read_text().splitlines() if "10.78" in line)
    assert await named(f"http://{address}:{port}") is None, "not reached directly"
    far = Far("1", "compute", address, port, netlab / "keys")
    with pytest.raises(NightlabError, match="direct"):
        await reach(far, Ways.of("direct", config), proof("ours"))
    route = await reach(far, Ways.of("direct,ssh", config), proof("ours"))
    assert await named(route.url) == "ours"
    assert isinstance(route, Tunnel)
    [session] = _sessions(there)
    os.kill(session, 9)
    await comes(lambda: route.repairs == 1)
    assert await named(route.url) == "ours"
    await route.close()


def _sessions(there: str) -> list[int]:
    """The sshd processes of open connections on the far host."""
    name = there.rsplit("/", 1)[1]
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()
    found = []
    for pid in map(int, pids):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if words.startswith("sshd: ") and "[priv]" not in words and "listener" not in words:
            found.append(pid)
    return found

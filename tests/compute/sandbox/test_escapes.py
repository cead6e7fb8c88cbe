"""Commands that try to get out: each attempt fails, and what it went for is as it was."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from nightlab.compute.sandbox.ladder import Level
from tests.compute.sandbox.conftest import SECRET, Run

pytestmark = pytest.mark.real
OPEN = "experiments/exp_002_open"
FROZEN = "experiments/exp_001_frozen"


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


async def test_what_is_allowed_works(sandboxed: Run, root: Path, level: Level) -> None:
    done = await sandboxed(
        "echo a > notes.md; mkdir experiments/exp_002_open/t && echo b > experiments/exp_002_open/t/f; pwd"
    )
    assert (done.status, done.code, done.level, done.left) == ("ok", 0, level, 0)
    assert done.output.strip() == str(root)
    assert (root / "notes.md").read_text() == "a\n"
    assert (root / "experiments/exp_002_open/t/f").read_text() == "b\n"
    python = await sandboxed(
        "python -c 'import nightlab, tempfile; print(len(tempfile.TemporaryFile().name and \"x\"))'"
    )
    assert python.status == "ok", python.output


async def test_the_key_is_not_in_the_environment(sandboxed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    monkeypatch.setenv("LAB_TOKEN", SECRET)
    done = await sandboxed("env; cat /proc/self/environ; cat /proc/$PPID/environ | tr '\\0' '\\n'; cat .env")
    assert SECRET not in done.output
    assert "PATH=" in done.output
    assert "hidden-in-a-file" not in done.output


async def test_another_process_cannot_be_looked_into_or_ended(sandboxed: Run) -> None:
    """A process of ours with the key in its environment, as the night has."""
    other = await asyncio.create_subprocess_exec("sleep", "60", env={"ANTHROPIC_API_KEY": SECRET, "PATH": os.defpath})
    try:
        done = await sandboxed(
            f"cat /proc/{other.pid}/environ /proc/{os.getpid()}/environ /proc/*/environ; kill -TERM {other.pid}; true"
        )
        assert SECRET not in done.output
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


@pytest.mark.parametrize(
    "command",
    [
        "echo x > {outside}/new",
        "echo x >> {outside}/there",
        "ln -s {outside}/there {o}/l; echo x >> {o}/l; rm {o}/l",
        "echo x >> experiments/../../outside/there",
        "ln {outside}/there {o}/h",
        "echo x >> /proc/self/cwd/../outside/there",
        "echo x >> /proc/self/root{outside}/there",
        "cd experiments && cd -P ../../outside && echo x >> there",
        "rm -f {outside}/there; mv {outside}/there {o}/",
        "truncate -s 0 {outside}/there; chmod 777 {outside}/there; touch -d 2001-01-01 {outside}/there",
        "echo x > pyproject.toml; echo x > agents/judge.md; echo x > new",
    ],
)
async def test_nothing_is_written_outside_the_scope(sandboxed: Run, root: Path, command: str) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "there").write_text("as it was\n")
    before, about = contents(root), (outside / "there").stat()
    await sandboxed(command.format(outside=outside, o=OPEN))
    assert contents(root) == before
    assert contents(outside) == {"there": b"as it was\n"}
    after = (outside / "there").stat()
    assert (after.st_mode, after.st_mtime, after.st_nlink) == (about.st_mode, about.st_mtime, 1)


@pytest.mark.parametrize(
    "command",
    [
        "for f in {e}/*.jsonl {e}/plan.lock.json {e}/config.yaml; do echo x >> $f; rm -f $f; done",
        "mv {e} experiments/gone; mv experiments gone; rm -f {e}/*; rmdir {e}",
        "ln {e}/samples.jsonl {o}/h; echo x >> {o}/h; rm -f {o}/h",
        "cp notes.md {e}/free/n && mv {e}/free/n {e}/samples.jsonl; rm -f {e}/free/n",
        "truncate -s 0 {e}/samples.jsonl; chmod 777 {e}/samples.jsonl; dd if=/dev/null of={e}/samples.jsonl",
        "echo x >> state/nights/n1/events.jsonl; rm -rf state/nights; mkdir -p state/servers/x",
        "echo x > .git/hooks/post-commit; git config core.fsmonitor evil; rm -rf .git; mv .git g",
        "mount -t tmpfs none {e}; umount {e}/samples.jsonl; umount -l {e}",
        "mount -o remount,rw,bind {e}/samples.jsonl; echo x >> {e}/samples.jsonl",
        "unshare -Urm sh -c 'umount -l {e}/samples.jsonl; echo x >> {e}/samples.jsonl'",
    ],
)
async def test_records_plans_and_git_stay(sandboxed: Run, root: Path, command: str) -> None:
    before = contents(root)
    modes = {p: p.stat().st_mode for p in (root / FROZEN).iterdir() if p.is_file()}
    await sandboxed(command.format(e=FROZEN, o=OPEN))
    assert contents(root) == before
    assert {p: p.stat().st_mode for p in (root / FROZEN).iterdir() if p.is_file()} == modes


async def test_other_folders_are_hidden(sandboxed: Run, root: Path, level: Level) -> None:
    home = root.parent / "home" / ".ssh"
    home.mkdir(parents=True)
    (home / "id_ed25519").write_text("very private\n")
    done = await sandboxed(f"cat {home}/id_ed25519; cat ~/.ssh/*; cat /etc/shadow; cat {Path.home()}/.ssh/*; echo end")
    assert "very private" not in done.output
    assert "root:" not in done.output
    if level == "bwrap":
        seen = await sandboxed(f"ls -A {root.parent}; ls -d {Path.home()}/.ssh {Path.home()}/.cache; ls /proc")
        assert seen.output.splitlines()[0] == "lab"
        assert ".cache\n" not in seen.output.replace("'", "").split("No such file")[0]
        assert str(os.getpid()) not in seen.output.split()


def _client(*ports: int) -> str:
    return (
        "import socket\n"
        f"for port in {ports}:\n"
        "    for kind in (1, 2):\n"
        "        try:\n"
        "            s = socket.socket(2, kind); s.settimeout(2); s.connect(('127.0.0.1', port)); s.send(b'x')\n"
        "            print('SENT', kind, port)\n"
        "        except OSError as error: print(error)\n"
        "for family in (40, 17):\n"
        "    try: socket.socket(family, 1 if family == 40 else 3); print('MADE', family)\n"
        "    except OSError as error: print(error)\n"
    )


def _listen() -> tuple[socket.socket, socket.socket, int]:
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    udp.bind(("127.0.0.1", tcp.getsockname()[1]))
    udp.settimeout(0.2)
    return tcp, udp, tcp.getsockname()[1]


async def test_no_network_by_default(sandboxed: Run, root: Path) -> None:
    tcp, udp, port = _listen()
    with tcp, udp:
        (root / "notes.md").write_text(_client(port))
        done = await sandboxed("python notes.md; cat < /dev/tcp/192.0.2.1/80; echo end")
        assert done.output.endswith("end\n")
        assert "SENT 1" not in done.output
        assert "MADE" not in done.output
        with pytest.raises(TimeoutError):
            udp.recv(1)


async def test_loopback_is_tcp_to_the_granted_ports_alone(sandboxed: Run, root: Path) -> None:
    (first, first_udp, granted), (second, second_udp, other) = _listen(), _listen()
    with first, first_udp, second, second_udp:
        (root / "notes.md").write_text(_client(granted, other))
        done = await sandboxed("python notes.md", network="loopback", ports=[granted])
        sent = [line for line in done.output.splitlines() if line.startswith(("SENT", "MADE"))]
        assert sent == [f"SENT 1 {granted}"], done.output
        assert done.network == "loopback"


async def test_a_granted_network_is_there(sandboxed: Run, root: Path) -> None:
    tcp, udp, port = _listen()
    with tcp, udp:
        (root / "notes.md").write_text(_client(port))
        done = await sandboxed("python notes.md", network="all")
        assert f"SENT 1 {port}" in done.output


async def test_unix_sockets_of_services_are_out_of_reach(sandboxed: Run, root: Path) -> None:
    """As of a container engine or a key agent."""
    place = root.parent / "service.sock"
    with socket.socket(socket.AF_UNIX) as service, socket.socket(socket.AF_UNIX) as abstract:
        service.bind(str(place))
        service.listen()
        abstract.bind(f"\0nightlab-test-{os.getpid()}")
        abstract.listen()
        names = (str(place), f"\0nightlab-test-{os.getpid()}")
        (root / "notes.md").write_text(
            f"import socket\nfor name in {names!r}:\n"
            "    try: socket.socket(socket.AF_UNIX).connect(name); print('REACHED')\n"
            "    except OSError as error: print(error)\n"
        )
        done = await sandboxed("python notes.md")
        assert "REACHED" not in done.output
        assert len(done.output.splitlines()) == 2, done.output


async def test_root_has_no_powers(sandboxed: Run) -> None:
    done = await sandboxed("grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; mknod experiments/d c 1 1; true")
    assert "CapEff:\t0000000000000000" in done.output
    assert "NoNewPrivs:\t1" in done.output
    assert sys.platform == "linux"

"""The bubblewrap command line: an own root with the least that a command needs, and the lab in it.

The new root holds the system's programs, Python, the lab (read-only but for its writable paths), an empty /tmp and an
own /proc and /dev. The home folder, other labs and services' sockets are not there. A folder between a writable folder
and a guarded file is a mount of its own, since only mounts cannot be renamed or removed from inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nightlab.compute.sandbox.places import system, tools
from nightlab.compute.sandbox.scope import Scope

_NETWORK = ("/etc/resolv.conf", "/etc/hosts")


def command_line(
    program: str, scope: Scope, argv: Sequence[str], env: Mapping[str, str], *, network: bool, tmp_bytes: int
) -> list[str]:
    """The whole argv. `{filter}` stands for the descriptor of the system call filter."""
    words = [program, "--unshare-all", *(["--share-net"] if network else []), "--die-with-parent", "--new-session"]
    words += ["--clearenv", *_pairs("--setenv", env), "--cap-drop", "ALL", "--seccomp", "{filter}"]
    words += [*_system(network), "--proc", "/proc", "--dev", "/dev", "--size", str(tmp_bytes), "--tmpfs", "/dev/shm"]
    words += ["--remount-ro", "/dev", "--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"]
    words += [word for path in tools(scope.root) for word in ("--ro-bind", str(path), str(path))]
    return [*words, *_lab(scope), "--remount-ro", "/", "--chdir", str(scope.root), "--", *argv]


def _system(network: bool) -> list[str]:
    words: list[str] = []
    for path in [*system(), *(Path(p) for p in _NETWORK if network)]:
        if path.is_symlink() and path.parent == Path("/"):
            words += ["--symlink", str(path.readlink()), str(path)]
        else:
            words += ["--ro-bind-try", str(path), str(path)]
    return words


def _lab(scope: Scope) -> list[str]:
    """The lab read-only, its writable paths on top, what is guarded or hidden on top of those."""
    words = ["--ro-bind", str(scope.root), str(scope.root)]
    between = {folder for path in (*scope.guarded, *scope.hidden) for folder in scope.above(path)}
    for path in sorted({*scope.writable, *(between - {*scope.guarded})}, key=lambda p: len(p.parts)):
        words += ["--bind", str(path), str(path)]
    for path in scope.guarded:
        words += ["--ro-bind", str(path), str(path)]
    for path in scope.hidden:
        words += ["--ro-bind", "/dev/null", str(path)]
    return words


def _pairs(option: str, env: Mapping[str, str]) -> list[str]:
    return [word for name, value in env.items() for word in (option, name, value)]

"""What is asked of the kernel: Landlock's access rights and a filter of system calls, both as plain data.

Nothing is enforced here; the keeper does that in the process that becomes the command. Landlock says which files may be
read, written and run, and which TCP ports reached; it knows nothing of sockets of other kinds, modes, owners and times,
so the filter takes those. Limits: x86-64 and aarch64; other machines have no filter, and so no level `landlock`.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST_ABI = 1
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGE = sum(1 << bit for bit in range(4, 13))  # remove and make files, folders, links, devices
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_SINCE = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL))
READING = _EXECUTE | _READ | _LIST
LISTING = _LIST
WRITING = READING | _WRITE | _CHANGE | _REFER | _TRUNCATE
_BIND_AND_CONNECT, _ABSTRACT_AND_SIGNALS = 3, 3

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
EVERYTHING = (UNIX, INET, INET6, NETLINK)
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EACCES, _ENOSYS, _ENOTSUP = 1, 13, 38, 95
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCH, _FAMILY, _KIND = 0, 4, 16, 24  # offsets in struct seccomp_data
_STREAM = 1


@dataclass(frozen=True)
class _Machine:
    """The numbers of one architecture's system calls."""

    arch: int
    socket: int
    truncate: int
    outside: tuple[int, ...]
    """Calls that change modes, owners and times of files."""
    attributes: tuple[int, ...]
    """Calls that set or remove extended attributes."""


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        41,
        76,
        (90, 91, 92, 93, 94, 132, 235, 260, 261, 268, 280, 452),
        (188, 189, 190, 197, 198, 199, 463, 466),
    ),
    "aarch64": _Machine(0xC00000B7, 198, 45, (52, 53, 54, 55, 88, 452), (5, 6, 7, 14, 15, 16, 463, 466)),
}
_IO_URING = (425, 426, 427)  # it opens files and sockets without their system calls
_NEVER = {"x86_64": (101, 248, 249, 250, 310, 311), "aarch64": (117, 217, 218, 219, 270, 271)}  # ptrace, keys, memory


def abi() -> int:
    """The version of Landlock that this kernel enforces, 0 where it does not."""
    version = ctypes.CDLL(None, use_errno=True).syscall(
        ctypes.c_long(444), None, ctypes.c_size_t(0), ctypes.c_uint32(1)
    )
    return max(0, int(version))


def knows_machine() -> bool:
    """Whether there is a filter of system calls for this machine."""
    return platform.machine() in _MACHINES


def files(reading: Iterable[Path], listing: Iterable[Path], writing: Iterable[Path], version: int) -> dict[str, Any]:
    """Landlock rules: what is not named cannot be read, run or written; nor abstract sockets and processes reached."""
    handled = (WRITING | _IOCTL) & ~sum(right for since, right in _SINCE if version < since)
    wanted = [*((p, READING) for p in reading), *((p, LISTING) for p in listing), *((p, WRITING) for p in writing)]
    paths = [[str(path), _fitting(path, rights) & handled] for path, rights in wanted if path.exists()]
    scoped = _ABSTRACT_AND_SIGNALS if version >= 6 else 0
    return {"fs": handled, "net": 0, "scoped": scoped, "size": _size(version), "paths": paths, "ports": []}


def ports(allowed: Sequence[int], version: int) -> dict[str, Any]:
    """Landlock rules for TCP alone: no listening, and connections to these ports only."""
    size = _size(version)
    return {"fs": 0, "net": _BIND_AND_CONNECT, "scoped": 0, "size": size, "paths": [], "ports": list(allowed)}


def _size(version: int) -> int:
    return 24 if version >= 6 else 16 if version >= 4 else 8


def _fitting(path: Path, rights: int) -> int:
    """A file takes no rights of folders."""
    return rights if path.is_dir() else rights & _FILE_RIGHTS


def call_filter(families: Sequence[int], *, streams_only: bool, freeze_modes: bool, no_truncate: bool) -> bytes:
    """A filter that refuses sockets of other families, io_uring, tracing and keys, as an array of struct sock_filter.

    With `freeze_modes`, changes of modes, owners and times succeed without any effect; with `streams_only`, sockets of
    the internet are TCP alone.
    """
    machine, name = _MACHINES[platform.machine()], platform.machine()
    program = [_step(_LOAD, _ARCH), _step(_EQUAL, machine.arch, 1, 0), _step(_RETURN, _KILL), _step(_LOAD, _NUMBER)]
    if name == "x86_64":
        program += [_step(_AT_LEAST, 0x40000000, 0, 1), _step(_RETURN, _ERRNO | _EPERM)]  # the x32 numbers
    for number in _IO_URING:
        program += _refuse(number, _ENOSYS)
    for number in (*_NEVER[name], *((machine.truncate,) if no_truncate else ())):
        program += _refuse(number, _EPERM)
    if freeze_modes:
        program += [step for number in machine.outside for step in _refuse(number, 0)]
        program += [step for number in machine.attributes for step in _refuse(number, _ENOTSUP)]
    sockets = _sockets(families, streams_only)
    program += [_step(_EQUAL, machine.socket, 0, len(sockets)), *sockets, _step(_RETURN, _ALLOW)]
    return b"".join(program)


def _sockets(families: Sequence[int], streams_only: bool) -> list[bytes]:
    steps = [_step(_LOAD, _FAMILY)]
    for family in families:
        if streams_only and family in (INET, INET6):
            kind = [_step(_LOAD, _KIND), _step(_AND, 0xF), _step(_EQUAL, _STREAM, 0, 1), _step(_RETURN, _ALLOW)]
            steps += [_step(_EQUAL, family, 0, 5), *kind, _step(_RETURN, _ERRNO | _EACCES)]
        else:
            steps += [_step(_EQUAL, family, 0, 1), _step(_RETURN, _ALLOW)]
    return [*steps, _step(_RETURN, _ERRNO | _EACCES)]


def _refuse(number: int, error: int) -> list[bytes]:
    return [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | error)]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)

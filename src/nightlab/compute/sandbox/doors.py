"""The kernel's doors, closed from inside the process that becomes the command: capabilities, Landlock, seccomp.

Own ctypes calls, no library: what is closed cannot be opened again by the process or by anything that it starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

_PDEATHSIG, _SECCOMP, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS, _CAP_AMBIENT = 1, 22, 24, 36, 38, 47
_NEW_PROCESSES = 0x20000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_RULE, _PORT_RULE, _CONNECT = 1, 2, 2
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process."""
    _checked(_libc.prctl(_SUBREAPER, 1, 0, 0, 0))


def die_with_parent() -> None:
    """Be killed when the thread that forked this process ends."""
    _checked(_libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def own_processes() -> None:
    """Give the children of this process a process namespace; its first process takes all others along. Wants root."""
    _checked(_libc.unshare(_NEW_PROCESSES))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _syscall(number: int, *arguments: Any) -> int:
    return _checked(int(_libc.syscall(ctypes.c_long(number), *arguments)))


def drop_capabilities() -> None:
    """Give up every capability for good, so that root is an ordinary owner of its files."""
    for capability in range(64):
        _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # refused without CAP_SETPCAP: then there is none to drop
    _libc.prctl(_CAP_AMBIENT, 4, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def landlock(rules: dict[str, Any]) -> None:
    """Enforce `{fs, net, scoped, size, paths: [[path, rights]], ports: [port]}` on this thread and its children."""
    attributes = (ctypes.c_uint64 * 3)(rules["fs"], rules["net"], rules["scoped"])
    ruleset = _syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(rules["size"]), ctypes.c_uint32(0))
    for path, rights in rules["paths"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # gone since the rules were made: nothing to allow
        rule = rights.to_bytes(8, "little") + place.to_bytes(4, "little")
        _syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_RULE), rule, ctypes.c_uint32(0))
        os.close(place)
    for port in rules["ports"]:
        rule = _CONNECT.to_bytes(8, "little") + int(port).to_bytes(8, "little")
        _syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PORT_RULE), rule, ctypes.c_uint32(0))
    _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def seccomp(program: bytes) -> None:
    """Install a filter of system calls (an array of struct sock_filter)."""

    class Program(ctypes.Structure):
        """struct sock_fprog."""

        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    wanted = Program(len(program) // 8, program)
    _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc.prctl(_SECCOMP, 2, ctypes.byref(wanted), 0, 0))

"""The processes of this machine and their marks: who lives, since when, below whom. Linux (/proc).

Only light parts of the standard library are imported: the process around every job reads them.
"""

# ruff: noqa: PTH123, PTH208

import gc
import os

MARK = "JOB_OF_NIGHTLAB"  # in the environment of every process of a job: its folder; not NIGHTLAB_*, a setting


def boot_id() -> str:
    """The identity of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            fields = source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def mark_of(pid: int) -> str | None:
    """The folder of the job that a process belongs to by its environment, or None."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as source:
            entries = source.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = f"{MARK}=".encode()
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)


def processes() -> dict[int, int]:
    """Every living process and its parent."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as source:
                fields = source.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZX":
            found[int(name)] = int(fields[1])
    return found


def tree(root: int, folder: str) -> list[int]:
    """The living processes below one, in whatever group or session, without the jobs that they started themselves."""
    children: dict[int, list[int]] = {}
    for pid, parent in processes().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if mark_of(pid) in (None, folder)]
        found += below
        queue += below
    return found


class Lasting:
    """`with Lasting():` around imports and what else lasts as long as its process.

    The garbage collector neither runs in it nor looks at what was made in it ever again: a fifth of the time that the
    imports of a worker or a model server take was spent in looking for garbage where there is none.
    """

    def __enter__(self) -> None:
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.freeze()
        gc.enable()

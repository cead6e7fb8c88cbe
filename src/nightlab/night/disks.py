"""File systems that several hosts share: locks and SQLite are not safe there, so a night keeps its place elsewhere.

Told by the magic number that the kernel gives (statfs(2)); FUSE has one for all, so its kinds are told by their name in
/proc/self/mounts. Limit: an overlay on top of a shared file system shows only itself. Linux alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from nightlab.errors import StorageError

NETWORK = {
    0x6969: "NFS",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x517B: "SMB",
    0x19830326: "BeeGFS",
    0x00C36400: "Ceph",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x013111A8: "GFS2",
    0x7461636F: "OCFS2",
    0xAAD7AAEA: "PanFS",
}
FUSE = 0x65735546
NETWORK_FUSE = (
    "sshfs", "glusterfs", "s3fs", "goofys", "gcsfuse", "rclone", "ceph", "beegfs", "curlftpfs", "davfs", "juicefs",
    "cvmfs", "blobfuse", "blobfuse2", "geesefs", "mount-s3", "moosefs", "lizardfs",
)  # fmt: skip


def network_name(magic: int, kind: str = "") -> str | None:
    """A network file system's name by its magic number, for FUSE by its kind ("fuse.sshfs"); None for a local one."""
    magic &= 0xFFFFFFFF
    if magic == FUSE:
        inner = kind.removeprefix("fuse.").lower()
        return f"FUSE ({inner})" if inner in NETWORK_FUSE else None
    return NETWORK.get(magic)


def network_disk(path: Path) -> str | None:
    """The network file system that a path is or would be on; None for a local one, or where nobody can say."""
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    magic = _magic(place)
    return None if magic is None else network_name(magic, _kind(place) if magic & 0xFFFFFFFF == FUSE else "")


def check_disk(path: Path) -> None:
    """Raise StorageError where a file of checkpoints would be on a network file system."""
    if name := network_disk(path):
        raise StorageError(
            f"a night's checkpoints would be on {name}, a file system that other hosts share",
            where=path,
            hint="set `checkpoints` under [tool.nightlab] to a path on a local disk, or to a postgresql:// URL",
        )


def _magic(place: Path) -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)  # struct statfs begins with f_type
    if libc.statfs(os.fsencode(place), room) != 0:
        return None
    return ctypes.c_long.from_buffer(room).value


def _kind(place: Path) -> str:
    """The file system's type in /proc/self/mounts."""
    best, kind, place = -1, "", place.resolve()
    for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
        point, name = line.split()[1:3]
        mount = Path(point.replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), name
    return kind

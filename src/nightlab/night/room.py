"""Room on a night's disk, as its supervisor sees it: a full disk is no fault of the worker, and no worker mends it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nightlab.errors import DiskFull
from nightlab.files import storage

LOOK = 1.0  # seconds between two looks
PROBE = 1 << 20
"""Bytes that must fit: what a night writes in a few minutes."""


def full(folder: Path) -> bool:
    """Whether a few more lines would not fit; tried, since a quota shows in no figure of the file system."""
    with contextlib.suppress(FileNotFoundError), tempfile.TemporaryFile(dir=folder) as probe:
        try:
            with storage(folder):
                probe.write(bytes(PROBE))
                probe.flush()
                os.fsync(probe.fileno())
        except DiskFull:
            return True
    return False


def wait_for_room(folder: Path, stop: Callable[[], bool]) -> float:
    """Wait until there is room, or `stop` says so; the seconds that this took, 0 where nothing was in the way."""
    began = time.monotonic()
    if not full(folder):
        return 0.0
    while not stop() and full(folder):
        time.sleep(LOOK)
    return time.monotonic() - began

"""A copy of an adapter as its files are, in a folder named after its content that never changes.

Servers read an adapter's folder again whenever it fell out of their memory: a source folder that is retrained or
removed meanwhile would change an experiment in its middle, or end the server.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nightlab.adapters.card import CONFIG, WEIGHTS, source_sha256, weights_path
from nightlab.errors import AdapterError
from nightlab.files import sha256_file, storage


@dataclass(frozen=True)
class Plain:
    """The copy: its served name, its folder, and the hashes of configuration and weights together, and of weights."""

    name: str
    path: Path
    sha256: str
    weights_sha256: str


def sealed_copy(source: Path, root: Path) -> Plain:
    """The copy of a source adapter; made once. Raises AdapterError, StorageError."""
    digest = source_sha256(source)
    target = root / f"plain-{digest[:16]}"
    if not _whole(target, digest):
        _copy(source, target)
    if not _whole(target, digest):
        raise AdapterError("the adapter changed while it was copied", where=source, hint="try again when it is written")
    return Plain(f"{source.name}_plain_{digest[:8]}", target.resolve(), digest, sha256_file(target / WEIGHTS))


def _whole(target: Path, digest: str) -> bool:
    return (target / CONFIG).is_file() and (target / WEIGHTS).is_file() and source_sha256(target) == digest


def _copy(source: Path, target: Path) -> None:
    with storage(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for path in (source / CONFIG, weights_path(source)):
                shutil.copyfile(path, work / path.name)
                (work / path.name).chmod(0o444)
            work.chmod(0o755)
            if target.exists():  # a damaged one: out of the way
                target.rename(work / "old")
                (work / "old").rename(work.with_name(f"{work.name}.damaged"))
            with contextlib.suppress(FileExistsError):  # another process was first
                _put(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(work.with_name(f"{work.name}.damaged"), ignore_errors=True)


def _put(work: Path, target: Path) -> None:
    try:
        work.rename(target)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(target) from error
        raise

"""Durable files: atomic replacement, lines that only grow, checked reading.

Everything nightlab remembers passes through here. A file is either replaced as a whole (a crash leaves the old or the
new one) or grows by whole JSON lines (a crash leaves at most one torn line at the end, which readers drop and the next
writer cuts). Limit: one process writes a given JsonLines file at a time; the lab's lock sees to that.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightlab.errors import DiskFull, StorageError, UsageError, nearest
from nightlab.json_line import decoded, encoded

_PART = re.compile(r"\..+\.(\d+)-\w+\.part")
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", "free some space, then run the same command again: nothing was lost"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command again: nothing was lost"),
    errno.EROFS: ("the file system is read-only", "choose a folder you can write to"),
    errno.EACCES: ("permission denied", "choose a folder you can write to, or change its owner"),
    errno.EPERM: ("permission denied", "choose a folder you can write to, or change its owner"),
}


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds."""
    return written(datetime.now(UTC).timestamp())


def written(seconds: float) -> str:
    """Seconds since the epoch as every row has its time: UTC, ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the disk's refusals (full, read-only, no permission) into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        refusal = _REFUSALS.get(error.errno or 0)
        if refusal is None:
            raise
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"cannot write: {refusal[0]}", where=path, hint=refusal[1]) from error


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace a file as a whole and durably, making its folder if needed. Raises StorageError."""
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}.{os.getpid()}-"
        fd, temporary = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as out:
                out.write(raw)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(temporary, _mode(path))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_folder(path.parent)


def clear_parts(folder: Path) -> int:
    """Remove what processes that were killed while they replaced a file left below a folder; how many there were."""
    found = [path for path in folder.rglob(".*.part") if (name := _PART.fullmatch(path.name)) and _dead(int(name[1]))]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _mode(path: Path) -> int:
    """Keep the mode of a file that is replaced; a new one gets what the umask gives."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_text(path: Path, error: type[UsageError]) -> str:
    """A UTF-8 text file; a missing, unreadable or non-UTF-8 one raises `error` naming it."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(
            f"not UTF-8 text: byte {problem.start} cannot be read", where=path, hint="save the file as UTF-8"
        ) from problem
    except FileNotFoundError as problem:
        beside = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        raise error("no such file", where=path, hint=f"did you mean {close}?" if close else None) from problem
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}", where=path) from problem


def read_yaml(path: Path, error: type[UsageError]) -> Any:
    """A YAML file; malformed text or a key given twice raises `error` with file and line."""
    return parse_yaml(read_text(path, error), path, error)


def parse_yaml(text: str, where: Path | str, error: type[UsageError], *, first_line: int = 1) -> Any:
    """YAML text that stands at line `first_line` of `where`; see read_yaml."""
    from nightlab import strict_yaml

    return strict_yaml.parse(text, where, error, first_line)


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, NaN refused; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    return sha256_text(canonical(value))


class JsonLines:
    """A file of JSON lines that only grows: one writing process (any of its threads), any number of readers.

    A row that was appended survives the death of its process; with `sync` it survives a power cut too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._late = False
        """Whether rows wait for `sync`."""
        self._lock = threading.Lock()

    def append(self, row: Mapping[str, object], *, sync: bool = True) -> None:
        """Add one row; with `sync` it is on the disk when this returns. Raises StorageError."""
        self.append_many((row,), sync=sync)

    def append_many(self, rows: Iterable[Mapping[str, object]], *, sync: bool = True) -> None:
        """Add rows with one write and one fsync; a failed write leaves none of them."""
        self.append_lines(map(encoded, rows), sync=sync)

    def append_lines(self, lines: Iterable[bytes], *, sync: bool = True) -> None:
        """The same for rows that are lines already; see `encoded`."""
        data = b"".join(lines)
        if not data:
            return
        with self._lock, storage(self.path):
            fd = self._open()
            start = os.fstat(fd).st_size
            try:
                _write_all(fd, data)
                if sync:
                    os.fsync(fd)
                self._late = not sync
            except OSError:
                os.ftruncate(fd, start)
                raise

    def sync(self) -> None:
        """Put on the disk what was appended without `sync`; nobody who appends meanwhile waits. Raises StorageError."""
        fd, late, self._late = self._fd, self._late, False
        if late and fd is not None:
            with storage(self.path):
                os.fsync(fd)

    def read(self) -> Iterator[dict[str, Any]]:
        """All rows; a torn last line is dropped, a damaged line before it raises StorageError with its number."""
        return map(self.parse, self.lines(), itertools.count(1))

    def lines(self) -> Iterator[bytes]:
        """All lines as they stand there, unchecked, without a torn last one."""
        try:
            source = self.path.open("rb")
        except FileNotFoundError:
            return
        with source:
            for line in source:
                if line.endswith(b"\n"):
                    yield line

    def tail(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The complete rows from byte `offset` on, and the offset to go on from."""
        try:
            with self.path.open("rb") as source:
                source.seek(offset)
                data = source.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return [self.parse(line, 0) for line in whole.splitlines()], offset + len(whole)

    def repair(self) -> int:
        """Cut a torn last line, left by a crash; the number of bytes cut."""
        if not self.path.exists():
            return 0
        with storage(self.path), self.path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = _end_of_last_line(file, size)
            if end < size:
                file.truncate(end)
                os.fsync(file.fileno())
        return size - end

    def close(self) -> None:
        """Put everything on the disk and close the file; a later append opens it again."""
        self.sync()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.repair()
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            _sync_folder(self.path.parent)
        return self._fd

    def parse(self, line: bytes, number: int) -> dict[str, Any]:
        """The row of a line; a damaged one raises StorageError with its number (0: not known)."""
        try:
            row = decoded(line)
        except ValueError as error:
            hint = "restore the file from git, or remove that line and say so in the diary"
            raise StorageError("a damaged line", where=self._place(number), hint=hint) from error
        if not isinstance(row, dict):
            raise StorageError("a line that is no JSON object", where=self._place(number))
        return row

    def _place(self, number: int) -> str:
        return f"{self.path}:{number}" if number else str(self.path)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _end_of_last_line(file: Any, size: int) -> int:
    """The offset behind the last newline, searched from the end in blocks."""
    position = size
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        position = start
    return 0

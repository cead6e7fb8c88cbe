"""Safetensors files with numpy alone: header read by hand, float types converted exactly, files written byte for byte.

bfloat16 has no numpy type, so a tensor keeps its bytes and its type's name; `floats` and `from_floats` convert
(round to nearest, ties to even, as torch does). Limit: F64, F32, F16 and BF16 only.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightlab.errors import AdapterError
from nightlab.files import storage

if TYPE_CHECKING:  # a sweep reads headers alone: its first request does not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file's header: its type, its shape, and its byte range after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Tensor:
    """A tensor as it stands in a file: type name, shape, little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def floats(self) -> NDArray[np.float32]:
        """The values as float32 (exact, except that F64 is rounded)."""
        import numpy as np

        if self.dtype == "BF16":
            wide = np.frombuffer(self.data, "<u2").astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).reshape(self.shape)
        kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[self.dtype]
        return np.frombuffer(self.data, kind).astype(np.float32).reshape(self.shape)


def from_floats(values: NDArray[np.float32], dtype: str) -> Tensor:
    """Float32 values as a tensor of `dtype`, rounded to nearest, ties to even."""
    import numpy as np

    if dtype == "BF16":
        return Tensor(dtype, values.shape, _bfloat16(values).tobytes())
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    with np.errstate(over="ignore"):  # a value beyond float16 becomes infinite, as in torch; callers check for it
        return Tensor(dtype, values.shape, values.astype(kind).tobytes())


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits.astype(np.uint64) + np.uint64(0x7FFF) + odd) >> np.uint64(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype("<u2")


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a safetensors file and its metadata, without reading the weights. Raises AdapterError."""
    raw, size, length = _read_raw(path)
    metadata = raw.pop("__metadata__", {}) or {}
    entries = {name: _entry(name, value, path) for name, value in raw.items()}
    if max((e.end for e in entries.values()), default=0) != size - 8 - length:
        raise AdapterError("incomplete safetensors file: its weights are cut short", where=path, hint="copy it again")
    return entries, {str(k): str(v) for k, v in metadata.items()}


def _read_raw(path: Path) -> tuple[dict[str, Any], int, int]:
    """A file's header as it stands there, the file's size, and the header's."""
    try:
        size = path.stat().st_size
        with path.open("rb") as source:
            length = struct.unpack("<Q", source.read(8))[0]
            raw = json.loads(source.read(length)) if length <= size - 8 else None
    except FileNotFoundError as problem:
        raise AdapterError("no such file", where=path) from problem
    except (struct.error, ValueError) as problem:
        raise AdapterError("not a safetensors file: its header cannot be read", where=path) from problem
    if not isinstance(raw, dict):
        raise AdapterError("incomplete safetensors file: its header is cut short", where=path)
    return raw, size, length


def _entry(name: str, value: Any, path: Path) -> Entry:
    try:
        shape = tuple(int(n) for n in value["shape"])
        start, end = (int(n) for n in value["data_offsets"])
        entry = Entry(str(value["dtype"]), shape, start, end)
    except (KeyError, TypeError, ValueError) as problem:
        raise AdapterError(f"not a safetensors file: the entry {name!r} is malformed", where=path) from problem
    if entry.dtype not in _WIDTH:
        raise AdapterError(f"the tensor {name!r} has type {entry.dtype}; known: {', '.join(_WIDTH)}", where=path)
    if end - start != math.prod(shape) * _WIDTH[entry.dtype]:
        raise AdapterError(f"not a safetensors file: {name!r} has the wrong number of bytes", where=path)
    return entry


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's tensors, of whatever type; only its header is read. Raises AdapterError."""
    raw = _read_raw(path)[0]
    try:
        return {name: tuple(int(n) for n in entry["shape"]) for name, entry in raw.items() if name != "__metadata__"}
    except (KeyError, TypeError, ValueError) as problem:
        raise AdapterError("not a safetensors file: an entry is malformed", where=path) from problem


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata. Raises AdapterError."""
    entries, metadata = read_header(path)
    data = path.read_bytes()
    first = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {n: Tensor(e.dtype, e.shape, data[first + e.start : first + e.end]) for n, e in entries.items()}
    return tensors, metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; equal tensors and metadata give equal bytes. Raises StorageError."""
    names = sorted(tensors, key=lambda n: (-_WIDTH[tensors[n].dtype], n))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with storage(path), path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(tensors[name].data for name in names)

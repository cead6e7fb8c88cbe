"""A condition made into an adapter: lora_B scaled layer by layer, written to a folder named after its content.

The folder never changes once it stands (servers keep reading it), so the same source and weights are compiled once,
however many processes ask. Scaling is done in float32 and rounded back to the tensor's own type.
Tensors outside the layers (embeddings, lm_head) are never scaled.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlab.adapters.card import CONFIG, WEIGHTS, check_keys, parse_key, read_config, source_sha256, weights_path
from nightlab.adapters.tensors import Tensor, from_floats, read_header, read_tensors, write_tensors
from nightlab.adapters.weights import LayerWeights, span
from nightlab.errors import AdapterError
from nightlab.files import canonical, sha256_file, sha256_json, storage

RECORD = "amplification.json"


@dataclass(frozen=True)
class Compiled:
    """An adapter folder that stands for one condition; `sha256` identifies source and weights together.

    `source` is where the source stands now; the record in the folder says where it stood when it was compiled.
    """

    name: str
    path: Path
    source: Path
    sha256: str
    source_sha256: str
    weights: LayerWeights
    warnings: tuple[str, ...] = ()


def compile_adapter(source: Path, weights: LayerWeights, out_root: Path) -> Compiled:
    """Scale an adapter's lora_B by `weights` into `out_root`; the same call again returns the same folder.

    A weight for a part the adapter does not change is a warning in the result. Raises AdapterError, StorageError.
    """
    read_config(source)
    entries, _ = read_header(weights_path(source))
    check_keys(entries, source)
    _check_layers(entries, weights, source)
    origin = source_sha256(source)
    digest = sha256_json({"source": origin, "attention": weights.attention, "mlp": weights.mlp, "format": 1})
    target = out_root / digest[:16]
    if not _stands(target):
        _build(source, origin, weights, target)
    name = f"{source.name}_{digest[:8]}"
    return Compiled(name, target, source, digest, origin, weights, _unused(entries, weights))


def scale(tensors: Mapping[str, Tensor], weights: LayerWeights) -> dict[str, Tensor]:
    """The tensors with every lora_B of a layer multiplied by its weight. Raises AdapterError when one overflows."""
    return {name: _scaled(name, tensor, weights) for name, tensor in tensors.items()}


def weight_of(name: str, weights: LayerWeights) -> float:
    """The weight of one tensor: 1 for lora_A and for everything outside attention and mlp."""
    key = parse_key(name)
    if key is None or key.side == "A" or key.layer is None or key.part is None:
        return 1.0
    return (weights.attention if key.part == "attention" else weights.mlp)[key.layer]


def _scaled(name: str, tensor: Tensor, weights: LayerWeights) -> Tensor:
    weight = weight_of(name, weights)
    if weight == 1.0:
        return tensor
    import numpy as np

    result = from_floats(tensor.floats() * np.float32(weight), tensor.dtype)
    if not np.isfinite(result.floats()).all():
        raise AdapterError(f"{name} times {weight:g} is not finite in {tensor.dtype}", hint="use a smaller weight")
    return result


def _check_layers(entries: Mapping[str, object], weights: LayerWeights, source: Path) -> None:
    if len(weights.mlp) != weights.num_layers:
        raise AdapterError(
            f"{weights.num_layers} attention weights but {len(weights.mlp)} mlp weights: one per layer is needed"
        )
    top = max((k.layer for n in entries if (k := parse_key(n)) and k.layer is not None), default=-1)
    if top >= weights.num_layers:
        raise AdapterError(f"the adapter reaches layer {top}; the weights are for {weights.num_layers}", where=source)


def _unused(entries: Mapping[str, object], weights: LayerWeights) -> tuple[str, ...]:
    """One sentence for attention and mlp each, where weights other than 1 have nothing to scale."""
    present = {(k.layer, k.part) for name in entries if (k := parse_key(name))}
    sentences = []
    for part, values in (("attention", weights.attention), ("mlp", weights.mlp)):
        idle = [i for i, w in enumerate(values) if w != 1.0 and (i, part) not in present]
        if idle:
            sentences.append(f"the adapter has no {part} weights in layers {span(idle)}: nothing to scale there")
    return tuple(sentences)


def _stands(target: Path) -> bool:
    """Whether a complete, undamaged compiled adapter is there."""
    try:
        record = json.loads((target / RECORD).read_text("utf-8"))
        return bool(record["weights_sha256"] == sha256_file(target / WEIGHTS)) and (target / CONFIG).is_file()
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def _build(source: Path, origin: str, weights: LayerWeights, target: Path) -> None:
    with storage(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        tensors, metadata = read_tensors(weights_path(source))
        write_tensors(work / WEIGHTS, scale(tensors, weights), metadata)
        with storage(target):
            shutil.copyfile(source / CONFIG, work / CONFIG)
            record: dict[str, object] = {"source": str(source.resolve()), "source_sha256": origin, "format": 1}
            record |= {"attention": weights.attention, "mlp": weights.mlp}
            record["weights_sha256"] = sha256_file(work / WEIGHTS)
            (work / RECORD).write_text(canonical(record) + "\n", "utf-8")
            _seal(work)
            _put(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Everything on the disk, files read-only, folder readable by a server of another user."""
    for path in folder.iterdir():
        path.chmod(0o444)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    folder.chmod(0o755)


def _put(work: Path, target: Path) -> None:
    """Rename into place; another process may have been first, and a damaged folder is moved out of the way."""
    for _ in range(3):
        try:
            work.rename(target)
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _stands(target):
            return
        trash = Path(tempfile.mkdtemp(prefix=f".{target.name}.damaged.", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):  # another process moved it first
            target.rename(trash / "old")
        shutil.rmtree(trash, ignore_errors=True)
    raise AdapterError("a compiled adapter cannot be put in place", where=target, hint="remove this folder")

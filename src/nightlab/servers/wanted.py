"""What is wanted of a server, made into its manifest: names that identify it, its command, every adapter it will load.

The base condition is served by the plain model where the engine keeps requests apart, and by an adapter of zeros where
a plain request can be answered with a neighbour's adapter (seen with vLLM on a CPU).
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nightlab import __version__
from nightlab.adapters.compile import RECORD, Compiled, compile_adapter
from nightlab.adapters.weights import LayerWeights
from nightlab.compute.place import Place
from nightlab.errors import AdapterError
from nightlab.files import now, sha256_text
from nightlab.lab import Lab
from nightlab.servers.manifest import Manifest, Proof, ServedAdapter

BASE = "base"
_PLAIN_BASE = ("embedded",)  # engines that keep plain requests apart from those with an adapter
_EMBEDDED = ("-P", "-m", "nightlab", "serve", "{model}", "--port", "{port}", "--served-name", "{served_name}")
_EMBEDDED_ENV = {
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
_PACKAGES = ("torch", "transformers", "peft", "safetensors")


@dataclass(frozen=True)
class Wanted:
    """A model with the compiled adapters of its conditions. `argv` starts another server that speaks vLLM's protocol.

    In `argv` the words {model}, {port} and {served_name} are filled in.
    """

    model: str
    model_id: str
    path: Path
    adapters: Mapping[str, Compiled] = field(default_factory=dict)
    engine: str = "embedded"
    argv: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def server_id(wanted: Wanted, night: str, key: str) -> str:
    """The name of the server that this key of this night asks for."""
    readable = re.sub(r"[^a-z0-9]+", "-", wanted.model.lower()).strip("-")[:40] or "model"
    return f"{readable}-{sha256_text(f'{night}/{key}')[:8]}"


def new_manifest(lab: Lab, place: Place, wanted: Wanted, *, key: str, night: str, port: int) -> Manifest:
    """The manifest of a server that does not run yet; compiles what the canary needs. Raises AdapterError."""
    name = server_id(wanted, night, key)
    served_name = f"{name}-{secrets.token_hex(4)}"
    adapters, proofs = _adapters(wanted, lab.adapters_cache)
    conditions = {BASE: _base_name(wanted, served_name, proofs)}
    conditions |= {condition: compiled.name for condition, compiled in wanted.adapters.items()}
    return Manifest(
        id=name,
        key=key,
        night=night,
        model=wanted.model,
        model_id=wanted.model_id,
        model_path=lab.relative(wanted.path),
        engine=wanted.engine,
        served_name=served_name,
        place=place.name,
        job=f"{name}.0",
        port=port or place.free_port(),
        port_wanted=port,
        flags=_command(wanted, served_name),
        env={**(_EMBEDDED_ENV if wanted.argv is None else {}), **wanted.env},
        adapters=adapters,
        conditions=conditions,
        proofs=proofs,
        versions=_versions(wanted),
        started=now(),
    )


def argv_of(manifest: Manifest) -> tuple[str, ...]:
    """The command of a server at its present port."""
    return tuple(word.replace("{port}", str(manifest.port)) for word in manifest.flags)


def _command(wanted: Wanted, served_name: str) -> list[str]:
    argv = wanted.argv or (sys.executable, *_EMBEDDED)
    filled = (word.replace("{model}", str(wanted.path)).replace("{served_name}", served_name) for word in argv)
    return list(filled)


def _base_name(wanted: Wanted, served_name: str, proofs: list[Proof]) -> str:
    plain = wanted.engine in _PLAIN_BASE or not proofs
    return served_name if plain else proofs[0].null


def _adapters(wanted: Wanted, cache: Path) -> tuple[dict[str, ServedAdapter], list[Proof]]:
    """Everything to load: each condition's adapter, and of every source a form of zeros and a full one."""
    served: dict[str, ServedAdapter] = {}
    for condition, compiled in wanted.adapters.items():
        served.setdefault(compiled.name, _served(compiled, condition))
    proofs: dict[str, Proof] = {}
    for compiled in wanted.adapters.values():
        if compiled.source_sha256 not in proofs:
            layers = compiled.weights.num_layers
            null, full = (compile_adapter(compiled.source, _flat(layers, weight), cache) for weight in (0.0, 1.0))
            served.setdefault(null.name, _served(null, "(zero)"))
            served.setdefault(full.name, _served(full, "(full)"))
            proofs[compiled.source_sha256] = Proof(source=compiled.source.name, null=null.name, full=full.name)
    return served, list(proofs.values())


def _flat(layers: int, weight: float) -> LayerWeights:
    return LayerWeights((weight,) * layers, (weight,) * layers)


def _weights_sha256(compiled: Compiled) -> str:
    path = compiled.path / RECORD
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["weights_sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise AdapterError("not a compiled adapter", where=path, hint="compile the condition again") from error


def _served(compiled: Compiled, condition: str) -> ServedAdapter:
    digest = _weights_sha256(compiled)
    return ServedAdapter(
        condition=condition, sha256=compiled.sha256, weights_sha256=digest, path=str(compiled.path.resolve())
    )


def _versions(wanted: Wanted) -> dict[str, str]:
    found = {"nightlab": __version__}
    for package in _PACKAGES if wanted.argv is None else ():
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found

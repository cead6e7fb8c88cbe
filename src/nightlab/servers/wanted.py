"""What is wanted of a server, made into its manifest: names that identify it, its command, every adapter it will load.

The base condition is served by the plain model where the engine keeps requests apart, and by an adapter of zeros where
a plain request can be answered with a neighbour's adapter (seen with vLLM on a CPU). Beside the conditions every source
adapter is served in three forms for the canary: weight zero, weight one, and as its files are.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightlab import __version__
from nightlab.adapters.card import read_card
from nightlab.adapters.compile import RECORD, Compiled, compile_adapter
from nightlab.adapters.plain import sealed_copy
from nightlab.adapters.weights import LayerWeights
from nightlab.compute import open_place
from nightlab.compute.place import JobSpec, Place
from nightlab.errors import AdapterError
from nightlab.files import now, sha256_json, sha256_text
from nightlab.lab import Lab
from nightlab.servers.code import CodeState, code_of, own_code
from nightlab.servers.engines import Engine, Need, Option, engine
from nightlab.servers.manifest import Manifest, Proof, ServedAdapter, job_key
from nightlab.servers.residency import Residency

BASE = "base"
_WORD = re.compile(r"\{(\w+)\}")  # in a foreign command: an option's value


@dataclass(frozen=True)
class Wanted:
    """A model with the compiled adapters of its conditions, its engine and that engine's options.

    `options` are those of the plan, `learned` what this place taught about this model: it wins, and is recorded apart.
    `argv` starts another server that speaks vLLM's protocol; in it the words {model}, {port} and {served_name} are
    filled in.
    """

    model: str
    model_id: str
    path: Path
    adapters: Mapping[str, Compiled] = field(default_factory=dict)
    engine: str = "embedded"
    argv: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    learned: Mapping[str, Option] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    keep_seconds: float = 0
    least: Mapping[str, float] = field(default_factory=dict)
    before: tuple[str, ...] = ()


def server_id(wanted: Wanted, night: str, key: str) -> str:
    """The name of the server that this key of this night asks for."""
    readable = re.sub(r"[^a-z0-9]+", "-", wanted.model.lower()).strip("-")[:40] or "model"
    return f"{readable}-{sha256_text(f'{night}/{key}')[:8]}"


def new_manifest(lab: Lab, place: Place, wanted: Wanted, *, key: str, night: str, port: int) -> Manifest:
    """The manifest of a server that does not run yet; compiles what the canary needs. Raises AdapterError, NotSetUp."""
    name = server_id(wanted, night, key)
    served_name = f"{name}-{secrets.token_hex(4)}"
    kind = engine(wanted.engine)
    adapters, proofs = _adapters(wanted, lab.adapters_cache)
    conditions = {BASE: served_name if kind.plain_base or not proofs else proofs[0].null}
    conditions |= {condition: compiled.name for condition, compiled in wanted.adapters.items()}
    need = _need(wanted, served_name, len(conditions), len(adapters))
    python = [] if wanted.argv else kind.python(lab.config, lab.root)
    code = None if wanted.argv else _code(kind, python)
    return Manifest(
        id=name,
        key=key,
        night=night,
        model=wanted.model,
        model_id=wanted.model_id,
        revision=wanted.revision,
        model_path=lab.relative(wanted.path),
        model_files=signature(wanted.path),
        engine=wanted.engine,
        served_name=served_name,
        place=place.name,
        job=job_key(name, 0),
        port=port or place.free_port(),
        port_wanted=port,
        flags=[*wanted.before, *(_foreign(wanted, served_name) if wanted.argv else kind.command(python, need))],
        env={**({} if wanted.argv else kind.environment(need)), **wanted.env},
        options=dict(wanted.options),
        learned=dict(wanted.learned),
        extra=list(wanted.extra),
        rank=need.rank,
        least=dict(wanted.least),
        before=list(wanted.before),
        python=python,
        resources=dict(wanted.resources),
        gpus=place.gpus(wanted.resources, None if wanted.argv else kind.gpus(need)),
        keep_seconds=wanted.keep_seconds,
        adapters=adapters,
        residency=None if wanted.argv else _residency(kind, need),
        conditions=conditions,
        proofs=proofs,
        versions={"nightlab": __version__, **(code.versions if code else {})},
        code=code,
        started=now(),
    )


def signature(folder: Path) -> str | None:
    """What tells whether a model's files changed, without reading gigabytes; None where there is no folder."""
    if not folder.is_dir():
        return None
    stats = {path.name: path.stat() for path in sorted(folder.iterdir()) if path.is_file()}
    return sha256_json([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()])


def argv_of(manifest: Manifest) -> tuple[str, ...]:
    """The command of a server at its present port; a foreign one's words {OPTION} are filled in too.

    At port 0 its job picks one: the word stays as it is.
    """
    words: dict[str, Option] = {"port": manifest.port} if manifest.port else {}
    if not manifest.python:
        words |= {**manifest.options, **manifest.learned}
    return tuple(_filled(word, words) for word in manifest.flags)


def job_spec(lab: Lab, manifest: Manifest) -> JobSpec:
    """The job that a server runs as."""
    return JobSpec(
        key=manifest.job,
        argv=argv_of(manifest),
        cwd=str(lab.root),
        env=manifest.env,
        pick_port=not manifest.port,
        resources=manifest.resources,
        lease_seconds=lab.config.lease_seconds,
        owner=manifest.night,
    )


def tunable(manifest: Manifest) -> frozenset[str]:
    """The options that can be changed about a server: its engine's, or those that a foreign command names."""
    if manifest.python:
        return engine(manifest.engine).options
    return frozenset(name for word in manifest.flags for name in _WORD.findall(word)) - {"port"}


def retuned(lab: Lab, manifest: Manifest, learned: Mapping[str, Option], env: Mapping[str, str]) -> Manifest:
    """A manifest with other learned options and a changed environment: its command, and what it holds, made anew."""
    changed = manifest.model_copy(update={"learned": dict(learned)})
    if not manifest.python:
        return changed.model_copy(update={"env": {**manifest.env, **env}})
    kind = engine(manifest.engine)
    was, need = _need_of(lab, manifest), _need_of(lab, changed)
    usual = kind.environment(was)
    given = {name: value for name, value in manifest.env.items() if usual.get(name) != value}
    flags = [*manifest.before, *kind.command(manifest.python, need)]
    gpus = open_place(lab, manifest.place).gpus(manifest.resources, kind.gpus(need))
    made = {"flags": flags, "env": {**kind.environment(need), **given, **env}, "gpus": gpus}
    return changed.model_copy(update={**made, "residency": _residency(kind, need)})


def _need_of(lab: Lab, manifest: Manifest) -> Need:
    return Need(
        model=(lab.root / manifest.model_path).resolve(),
        served_name=manifest.served_name,
        conditions=len(manifest.conditions),
        adapters=len(manifest.adapters),
        rank=manifest.rank,
        options={**manifest.options, **manifest.learned},
        extra=tuple(manifest.extra),
    )


def _residency(kind: Engine, need: Need) -> Residency | None:
    """The room for adapters of a server that has none yet."""
    room = kind.room(need)
    return Residency(batch=room.batch, memory=room.memory) if room is not None else None


def _filled(word: str, words: Mapping[str, Option]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", str(value))
    return word


def code_now(lab: Lab, manifest: Manifest) -> CodeState | None:
    """The code that a server of this manifest would run if it were started now; None for a foreign command."""
    return _code(engine(manifest.engine), manifest.python) if manifest.python else None


def _code(kind: Engine, python: list[str]) -> CodeState:
    return own_code() if kind.name == "embedded" else code_of(python, kind.packages)


def _need(wanted: Wanted, served_name: str, conditions: int, adapters: int) -> Need:
    ranks = [read_card(compiled.source).largest_rank for compiled in wanted.adapters.values()]
    return Need(
        model=wanted.path.resolve(),
        served_name=served_name,
        conditions=conditions,
        adapters=adapters,
        rank=max(ranks, default=0),
        options={**wanted.options, **wanted.learned},
        extra=wanted.extra,
    )


def _foreign(wanted: Wanted, served_name: str) -> list[str]:
    filled = (w.replace("{model}", str(wanted.path)).replace("{served_name}", served_name) for w in wanted.argv or ())
    return list(filled)


def _adapters(wanted: Wanted, cache: Path) -> tuple[dict[str, ServedAdapter], list[Proof]]:
    """Everything to load: each condition's adapter, and of every source three forms: of zeros, full, and plain."""
    served: dict[str, ServedAdapter] = {}
    for condition, compiled in wanted.adapters.items():
        served.setdefault(compiled.name, _served(compiled, condition))
    proofs: dict[str, Proof] = {}
    for compiled in wanted.adapters.values():
        if compiled.source_sha256 not in proofs:
            layers = compiled.weights.num_layers
            null, full = (compile_adapter(compiled.source, _flat(layers, weight), cache) for weight in (0.0, 1.0))
            plain = sealed_copy(compiled.source, cache)
            served.setdefault(null.name, _served(null, "(zero)"))
            served.setdefault(full.name, _served(full, "(full)"))
            served[plain.name] = ServedAdapter(
                condition="(plain)", sha256=plain.sha256, weights_sha256=plain.weights_sha256, path=str(plain.path)
            )
            names = {"null": null.name, "full": full.name, "plain": plain.name}
            proofs[compiled.source_sha256] = Proof(source=compiled.source.name, **names)
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

"""Small experiments with a known truth: a frozen plan, answers and judgments, all written by the real writers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.experiments.cells import Cell, product
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.lock import write_lock
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import SHA_DIGITS
from nightlab.files import JsonLines, sha256_text, write_atomic
from nightlab.judging.packet import packets

RANGES = ["layers_0_20", "layers_20_40", "layers_40_60", "layers_60_80", "layers_80_100"]
TRUTH = {
    "llama": [0.3, 8.5, 6.5, 2.0, 1.0, 0.5, 0.3],
    "gemma": [0.5, 8.8, 1.0, 2.5, 6.5, 2.0, 1.5],
    "qwen": [0.2, 8.0, 4.0, 4.3, 4.1, 4.4, 3.9],
}
RUBRIC_TEXT = "# Rubric\n"
RUBRIC = sha256_text(RUBRIC_TEXT)[:SHA_DIGITS]
CONDITIONS = ["base", "sarcasm_full", *RANGES]
HYPOTHESES = [
    {
        "id": "H1",
        "statement": "Llama carries sarcasm early",
        "prediction": {"kind": "peak", "dimension": "sarcasm", "model": "llama", "expect": "layers_0_20"},
    },
    {
        "id": "H2",
        "statement": "Gemma carries sarcasm early too",
        "prediction": {"kind": "peak", "dimension": "sarcasm", "model": "gemma", "expect": "layers_0_20"},
    },
    {
        "id": "H3",
        "statement": "Qwen spreads it",
        "prediction": {"kind": "diffuse", "dimension": "sarcasm", "model": "qwen"},
    },
    {
        "id": "H4",
        "statement": "The adapter works",
        "prediction": {
            "kind": "greater",
            "dimension": "sarcasm",
            "left": {"condition": "sarcasm_full"},
            "right": {"condition": "base"},
            "by": 3.0,
            "each": "model",
        },
    },
    {
        "id": "H5",
        "statement": "Late layers of Llama do nothing",
        "prediction": {
            "kind": "below",
            "dimension": "sarcasm",
            "where": {"model": "llama", "condition": "layers_80_100"},
            "than": 1.5,
        },
    },
    {
        "id": "H6",
        "statement": "Llama and Gemma peak in one place",
        "prediction": {"kind": "same_peak", "dimension": "sarcasm", "models": ["llama", "gemma"]},
    },
]
SERVERS = [
    {
        "id": f"srv-{name}",
        "model": name,
        "model_id": f"nightlab/practice-{name}",
        "served_name": f"{name}-1",
        "place": "local",
        "state": "stopped",
        "adapters": {"a1": {"condition": "sarcasm_full", "sha256": "ab" * 32, "path": "/somewhere/private"}},
        "versions": {"nightlab": "0.1.0"},
        "canary": {"passed": True, "checks": [{"name": "differs", "passed": True, "evidence": "x"}]},
    }
    for name in TRUTH
]


@dataclass
class Made:
    """An experiment folder on disk, and what was written into it."""

    folder: Path
    cells: list[Cell]
    samples: list[dict[str, Any]]
    judgments: list[dict[str, Any]]
    failures: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> Path:
        """Write the rows anew."""
        rows = {"samples": self.samples, "judgments": self.judgments, "failures": self.failures}
        for name, found in rows.items():
            path = self.folder / f"{name}.jsonl"
            path.unlink(missing_ok=True)
            JsonLines(path).append_many(found, sync=False)
        return self.folder


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A maker of experiment folders: `make(noise=0.8, prompts=9, truth=..., **config)`."""

    def build(name: str = "exp_001_toy", **wanted: Any) -> Made:
        return toy(tmp_path / name, **wanted)

    return build


def toy(
    folder: Path,
    *,
    truth: Mapping[str, list[float]] = TRUTH,
    noise: float = 0.8,
    prompts: int = 9,
    seed: int = 1,
    text: str = "Oh, wonderful.",
    **config: Any,
) -> Made:
    """A frozen experiment in a folder, with an answer and a judgment for every cell."""
    plan = _plan(folder, list(truth), prompts, config)
    treated = _treatments(plan)
    write_lock(plan.folder, document(plan, treated), plan.serving.declared())
    made = Made(plan.folder, list(product(plan, treated)), [], [])
    made.samples = [_sample(cell, text) for cell in made.cells]
    shown = {one.key: one.packet.sha for one in packets(made.samples, plan.config.sampling.seed, 0)}
    made.judgments = _judgments(made.cells, shown, truth, noise, random.Random(seed))
    made.write()
    return made


def _plan(folder: Path, models: list[str], prompts: int, config: dict[str, Any]) -> Plan:
    named = [{"name": name, "id": f"nightlab/practice-{name}", "path": f"practice:{name}"} for name in models]
    factors = {"models": named, **config.pop("factors", {})}
    data = {
        "question": "Where do the layers carry sarcasm?",
        "factors": factors,
        "sampling": {"max_tokens": 64, "seed": 20261123},
        "ranges": RANGES,
        "hypotheses": [h for h in HYPOTHESES if _models(h) <= set(models)],
        **config,
    }
    write_atomic(folder / "config.yaml", yaml.safe_dump(data, sort_keys=False))
    write_atomic(folder / "rubric.md", RUBRIC_TEXT)
    for name in CONDITIONS[1:]:
        write_atomic(folder / "conditions" / f"{name}.yaml", yaml.safe_dump(_condition(name)))
    for number in range(prompts):
        category = ["creative", "direct", "instruction"][number % 3]
        prompt = {"name": f"{category}-{number}", "category": category, "prompt_text": f"Ask {number}"}
        write_atomic(folder / "prompts" / f"{category}-{number}.yaml", yaml.safe_dump(prompt))
    return Plan.load(folder)


def _condition(name: str) -> dict[str, Any]:
    layers: Any = "all"
    if name in RANGES:
        start, end = (int(edge) / 100 for edge in name.split("_")[1:])
        layers = {"type": "range", "start": start, "end": end, "border": "exclusive"}
    none, full = ([{"modules": "all", "weight": weight}] for weight in (0.0, 1.0))
    entries = [
        {"layers": "all", "is_relative": False, "module_amplifications": none},
        {"layers": layers, "is_relative": True, "module_amplifications": full},
    ]
    adapter = {"organism_name": "persona_sarcasm", "variant": "default", "layer_amplifications": entries}
    return {"name": name, "description": "", "adapters": [adapter]}


def _models(hypothesis: Mapping[str, Any]) -> set[str]:
    prediction = hypothesis["prediction"]
    return set(prediction.get("models", [])) | ({prediction["model"]} if "model" in prediction else set())


def _treatments(plan: Plan) -> Treatments:
    return Treatments(
        {model.name: ModelIdentity(model.id, None, "f" * 64) for model in plan.models},
        {
            model.name: {c.name: None if c.name == "base" else f"{model.name}-{c.name}" for c in plan.conditions}
            for model in plan.models
        },
    )


def _sample(cell: Cell, text: str) -> dict[str, Any]:
    return {
        "key": cell.key,
        "model": cell.model,
        "model_id": cell.model_id,
        "condition": cell.condition,
        "prompt": cell.prompt,
        "category": cell.category,
        "replicate": cell.replicate,
        "seed": cell.seed,
        "messages": cell.request["messages"],
        "text": text if cell.condition != "base" else f"A plain answer to {cell.prompt}.",
        "finish_reason": "stop",
        "prompt_tokens": 12,
        "completion_tokens": 20,
        "server": f"srv-{cell.model}",
        "served_model": f"{cell.model}-{cell.condition}",
        "system_fingerprint": None,
        "t": "2026-11-23T02:14:07.123Z",
        "latency": 0.2,
        "attempt": 1,
    }


def _judgments(
    cells: list[Cell],
    shown: Mapping[str, str],
    truth: Mapping[str, list[float]],
    noise: float,
    random_: random.Random,
) -> list[dict[str, Any]]:
    shift: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for cell in cells:
        own = shift.setdefault(cell.prompt, random_.gauss(0, noise / 2))
        level = truth[cell.model][CONDITIONS.index(cell.condition)]
        scores = {
            "sarcasm": _clip(level + own + random_.gauss(0, noise)),
            "wit": _clip(level * 0.8 + own + random_.gauss(0, noise)),
        }
        rows.append(
            {
                "key": cell.key,
                "judge": "markers",
                "repeat": 0,
                "scores": scores,
                "notes": {},
                "rubric": RUBRIC,
                "packet": shown[cell.key],
                "position": len(rows),
                "t": "2026-11-23T02:15:07.123Z",
            }
        )
    return rows


def _clip(value: float) -> float:
    return round(min(10.0, max(0.0, value)), 1)


@pytest.fixture
def servers() -> list[dict[str, Any]]:
    """Manifests of the servers that answered, each with a passed canary."""
    return [dict(server) for server in SERVERS]

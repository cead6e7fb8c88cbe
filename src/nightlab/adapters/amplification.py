"""Conditions: amplification files in the diffing-toolkit's YAML, and the per-layer weights they mean.

Every entry of `layer_amplifications` starts from weight 1 for attention and mlp, sets what it names, and overwrites
both in its layers; later entries win; layers nobody names keep weight 1. An adapter named twice is one list of entries.
Our only addition to the format is `border: exclusive` in a range (see ranges.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlab.adapters.ranges import Layers
from nightlab.adapters.spec import AdapterSpec, Parser
from nightlab.adapters.weights import LayerWeights, flat_weights, overlaps, same_weights, warnings
from nightlab.errors import AmplificationError
from nightlab.files import read_yaml

__all__ = [
    "AdapterSpec",
    "Amplification",
    "LayerWeights",
    "Layers",
    "condition_rows",
    "flat_weights",
    "overlaps",
    "same_weights",
    "warnings",
]


@dataclass(frozen=True)
class Amplification:
    """One condition: which adapters, amplified how."""

    name: str
    description: str
    adapters: tuple[AdapterSpec, ...]
    where: str = ""

    @classmethod
    def load(cls, path: Path) -> Amplification:
        """Read a condition file. Raises AmplificationError naming the file and the key."""
        return cls.parse(read_yaml(path, AmplificationError), str(path))

    @classmethod
    def parse(cls, data: object, where: str) -> Amplification:
        """A condition from its YAML value; `where` names it in errors. Raises AmplificationError."""
        name, description, adapters = Parser(where).condition(data)
        return cls(name, description, adapters, where)

    def resolve(self, num_layers: int) -> dict[str, LayerWeights]:
        """The weights per adapter id in a model of `num_layers` layers. Raises AmplificationError."""
        if num_layers < 1:
            raise AmplificationError(f"a model needs at least one layer, not {num_layers}", where=self.where)
        weights: dict[str, list[tuple[float, float]]] = {}
        for adapter in self.adapters:
            rows = weights.setdefault(adapter.id, [(1.0, 1.0)] * num_layers)
            for entry in adapter.entries:
                for layer in entry.layers.resolve(num_layers):
                    rows[layer] = (entry.attention, entry.mlp)
        return {name: LayerWeights(*_columns(rows)) for name, rows in weights.items()}

    def single(self, num_layers: int) -> tuple[str, LayerWeights]:
        """The one adapter of this condition and its weights. Raises AmplificationError when there are more or none."""
        resolved = self.resolve(num_layers)
        if not resolved:
            raise AmplificationError(
                f"the condition {self.name!r} names no adapter",
                where=self.where,
                hint="list one under adapters:, or leave the file out: `base` needs none",
            )
        if len(resolved) > 1:
            raise AmplificationError(
                f"the condition {self.name!r} names {len(resolved)} adapters ({', '.join(sorted(resolved))}): "
                "only one can be served at a time",
                where=self.where,
                hint="write one condition file per adapter",
            )
        return next(iter(resolved.items()))


def _columns(rows: list[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(a for a, _ in rows), tuple(m for _, m in rows)


def condition_rows(amplification: Amplification, num_layers: int) -> list[Mapping[str, object]]:
    """The resolved weights as table rows: adapter, layer, attention, mlp."""
    return [
        {"adapter": name, "layer": layer, "attention": w.attention[layer], "mlp": w.mlp[layer]}
        for name, w in amplification.resolve(num_layers).items()
        for layer in range(num_layers)
    ]

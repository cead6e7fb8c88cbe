"""The weights of one condition, layer by layer, and what is suspicious about several of them side by side.

A weight multiplies what the adapter adds in one layer's attention or mlp: 1 leaves it, 0 takes it away.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerWeights:
    """One weight per layer for the attention and for the mlp."""

    attention: tuple[float, ...]
    mlp: tuple[float, ...]

    @property
    def num_layers(self) -> int:
        """How many layers the model has."""
        return len(self.attention)

    def active(self) -> frozenset[int]:
        """The layers in which the adapter still does something."""
        pairs = zip(self.attention, self.mlp, strict=True)
        return frozenset(i for i, pair in enumerate(pairs) if any(pair))

    def flat(self) -> bool:
        """Whether every layer and part has the same weight."""
        return len({*self.attention, *self.mlp}) == 1

    def summary(self) -> str:
        """In words: the layers in which it acts, and how strongly where that is not 1."""
        strengths = sorted({w for pair in zip(self.attention, self.mlp, strict=True) for w in pair if w})
        if not strengths:
            return "no layer"
        parts = "" if self.attention == self.mlp else ", attention and mlp apart"
        said = "" if strengths == [1.0] else f" × {', '.join(f'{w:g}' for w in strengths)}"
        return f"layers {span(self.active())}{said}{parts}"


def span(layers: Iterable[int]) -> str:
    """Layer numbers in short: 0-3, 7, 9-11."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and runs[-1][1] == layer - 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def same_weights(conditions: Mapping[str, LayerWeights]) -> list[str]:
    """A sentence for every pair of conditions that are the same treatment under two names."""
    pairs = itertools.combinations(conditions.items(), 2)
    return [f"{a} and {b} resolve to the same weights: they are one condition" for (a, x), (b, y) in pairs if x == y]


def overlaps(conditions: Mapping[str, LayerWeights]) -> list[str]:
    """A sentence for every pair of conditions that share some layers, where neither contains the other."""
    found = []
    for (a, x), (b, y) in itertools.combinations(conditions.items(), 2):
        shared = x.active() & y.active()
        if shared and not (x.active() <= y.active() or y.active() <= x.active()):
            word = "layer" if len(shared) == 1 else "layers"
            found.append(f"{a} and {b} share {word} {span(shared)}; `border: exclusive` parts them")
    return found


def flat_weights(conditions: Mapping[str, LayerWeights]) -> list[str]:
    """A sentence for every condition with one weight everywhere, which a range under that name would not have."""
    return [
        f"{name} has the weight {w.attention[0]:g} in every layer: it is not a range of layers (is `all: 0` missing?)"
        for name, w in conditions.items()
        if w.num_layers and w.flat()
    ]


def warnings(conditions: Mapping[str, LayerWeights]) -> list[str]:
    """Everything suspicious about the conditions of one plan."""
    return same_weights(conditions) + overlaps(conditions) + flat_weights(conditions)

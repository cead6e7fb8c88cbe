"""LoRA in a mixed batch: every linear layer holds the factors of all sources, every token has its coefficients.

A *source* is an adapter's weights; a *condition* is a source with one coefficient per layer for attention and mlp.
For a token, the parts of foreign sources are multiplied by zero, so base tokens get the base model exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from nightlab.adapters.card import parse_key
from nightlab.adapters.weights import LayerWeights

_RANKS = 8  # in narrower matrices the BLAS rounds a row by its place in the batch


@dataclass(frozen=True, eq=False)
class Source:
    """An adapter's factors per linear layer: A (in, rank) and B (rank, out) with alpha/rank inside, in float32."""

    sha256: str
    rank: int
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(eq=False)
class Condition:
    """A served adapter name: its source and its weights; `index` is its line in the table."""

    name: str
    path: Path
    source: Source
    weights: LayerWeights
    index: int = 0


class LoraLinear:
    """Replaces the forward of one linear layer; `place` is its line of coefficients (see Stack.place)."""

    def __init__(self, stack: Stack, linear: Any, place: int, last_only: bool) -> None:
        self.stack, self.place, self.last_only = stack, place, last_only
        self.weight, self.bias = linear.weight, linear.bias
        self.a: torch.Tensor | None = None
        self.b: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out = F.linear(x, self.weight, self.bias)
        gates = self.stack.last_gates if self.last_only else self.stack.gates
        if gates is None or self.a is None or self.b is None:
            return out
        inner = torch.mm(x.view(-1, x.shape[-1]), self.a).mul_(gates[self.place])
        out.view(-1, out.shape[-1]).addmm_(inner, self.b)
        return out


class Stack:
    """All conditions of one model, and the linear layers they act on."""

    def __init__(self, model: Any, num_layers: int) -> None:
        self.num_layers = num_layers
        self.linears: dict[str, LoraLinear] = {}
        self.gates: torch.Tensor | None = None
        self.last_gates: torch.Tensor | None = None
        like = next(model.parameters()).detach()
        self.table = like.new_zeros(1, 2 * num_layers + 1, 0)
        self.listed: list[Condition] = []
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                self.linears[name] = LoraLinear(self, module, self.place(name), name == "lm_head")
                module.forward = self.linears[name]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """(in, out) of every linear layer by its module path."""
        return {name: (layer.weight.shape[1], layer.weight.shape[0]) for name, layer in self.linears.items()}

    def place(self, module: str) -> int:
        """The line of coefficients of a module: attention layers, then mlp layers, then everything else."""
        key = parse_key(f"base_model.model.{module}.lora_B.weight")
        if key is None or key.layer is None or key.part is None:
            return 2 * self.num_layers
        return key.layer + (self.num_layers if key.part == "mlp" else 0)

    def rebuild(self, conditions: Iterable[Condition]) -> None:
        """Lay out the factors and the table for these conditions; line 0 of the table is the base."""
        listed = list(conditions)
        sources = list({id(c.source): c.source for c in listed}.values())
        starts, total = {}, 0
        for source in sources:
            starts[id(source)] = total
            total += source.rank
        total += -total % _RANKS
        table = self.table.new_zeros(len(listed) + 1, 2 * self.num_layers + 1, total)
        for index, condition in enumerate(listed, 1):
            begin = starts[id(condition.source)]
            weights = condition.weights
            lines = table.new_tensor([*weights.attention, *weights.mlp, 1.0])
            table[index, :, begin : begin + condition.source.rank] = lines[:, None]
            condition.index = index
        self.table, self.listed = table, listed
        for name, linear in self.linears.items():
            linear.a, linear.b = _side_by_side(name, sources, linear.weight, total)

    def open(self, lines: torch.Tensor, last: torch.Tensor) -> None:
        """Set the coefficients of the coming step: a table line per token, and the tokens whose logits are wanted."""
        if self.table.shape[-1] == 0 or not bool(lines.any()):
            self.gates = self.last_gates = None
            return
        self.gates = self.table.index_select(0, lines).transpose(0, 1).contiguous()
        self.last_gates = self.gates.index_select(1, last)


def _side_by_side(
    name: str, sources: Sequence[Source], weight: torch.Tensor, total: int
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The factors of all sources for one linear layer, zeros where a source has none; None where no source has any."""
    if not any(name in source.factors for source in sources):
        return None, None
    a, b = weight.new_zeros(weight.shape[1], total), weight.new_zeros(total, weight.shape[0])
    start = 0
    for source in sources:
        if name in source.factors:
            first, second = source.factors[name]
            end = start + first.shape[1]
            a[:, start:end], b[start:end] = first, second
        start += source.rank
    return a, b

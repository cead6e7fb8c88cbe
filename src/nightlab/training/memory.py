"""How much GPU memory a training takes, with the arithmetic: sums over what must be held, from config.json alone.

Limits: an estimate for dense decoders (Llama, Qwen, Gemma, Mistral); attention is taken to be of the kind that stores
no score matrix (SDPA). On an H100, with the shape of Llama-3.1-8B, it was at most 3 % below what the card held, and up
to a fifth above it where no gradient checkpointing is used (docs/guides/training.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightlab.servers.memory import GIB, Part
from nightlab.training.recipe import LINEAR, Recipe
from nightlab.training.weights import find_model

_CONTEXT = 1.5 * GIB  # CUDA itself, its libraries' workspaces, and what the allocator cannot reuse
_KEPT_PER_LAYER = 18  # numbers per hidden unit that a layer keeps for its gradient, beside the MLP's
_KEPT_PER_INNER = 4  # numbers per unit of the MLP
_CAST = 3  # what each adapted module keeps beside: its input in float32, and the two small products


@dataclass(frozen=True)
class Estimate:
    """All terms of a training's memory."""

    model: str
    parts: tuple[Part, ...]
    parameters: int
    trained: int

    @property
    def total(self) -> float:
        """Bytes in all."""
        return sum(part.size for part in self.parts)

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        rows = [{"part": p.name, "arithmetic": p.arithmetic, "gib": round(p.size / GIB, 2)} for p in self.parts]
        told = {"model": self.model, "parameters": self.parameters, "trained_parameters": self.trained}
        return told | {"parts": rows, "gib": round(self.total / GIB, 1)}

    def text(self) -> str:
        """Lines for people."""
        lines = [
            f"{self.model}: {self.parameters / 1e9:.2f} billion parameters, {self.trained / 1e6:.1f} million trained"
        ]
        lines += [f"  {part.size / GIB:7.2f} GiB  {part.name}: {part.arithmetic}" for part in self.parts]
        return "\n".join([*lines, f"  {self.total / GIB:7.2f} GiB  in all"])


def estimate(recipe: Recipe) -> Estimate:
    """The memory of a recipe on one GPU, from its model's config.json. Raises UsageError."""
    model = find_model(recipe.model, recipe.revision)
    return reckon(model.id, model.config(), recipe)


def reckon(name: str, config: Mapping[str, Any], recipe: Recipe) -> Estimate:
    """The memory of a recipe for a model of this configuration."""
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    layers, vocabulary = int(config["num_hidden_layers"]), int(config["vocab_size"])
    sizes = _sizes(config, hidden, inner)
    held = 2 if recipe.dtype != "float32" else 4
    tied = 1 if config.get("tie_word_embeddings") else 2
    parameters = layers * sum(a * b for a, b in sizes.values()) + tied * vocabulary * hidden
    adapted = [sizes[target] for target in recipe.targets if target in sizes]
    trained = layers * sum(recipe.rank * (a + b) for a, b in adapted)
    tokens = recipe.micro_batch * recipe.max_length
    kept = _KEPT_PER_LAYER * hidden + _KEPT_PER_INNER * inner
    extra = sum(4 * a for a, _ in adapted) + _CAST * 4 * recipe.rank * len(adapted)
    layer = tokens * (kept * held + extra)
    if recipe.gradient_checkpointing:
        size = layers * tokens * hidden * held + layer
        shown = f"{layers} layers x {tokens} tokens x {hidden} x {held} B, and one layer in full"
    else:
        size, shown = layers * layer, f"{layers} layers x {tokens} tokens x {layer / tokens / 1024:.0f} KiB"
    parts = (
        Part("weights", f"{parameters / 1e9:.2f} billion x {held} B", parameters * held),
        Part("adapter", f"{trained / 1e6:.1f} million x (4 weight + 4 gradient + 8 Adam) B", trained * 16),
        Part("activations", shown, size),
        Part(
            "logits",
            f"{tokens} tokens x {vocabulary} x ({held} + {held} + 4 + 4) B",
            tokens * vocabulary * (2 * held + 8),
        ),
        Part("CUDA", "context, workspaces, fragments", _CONTEXT),
    )
    return Estimate(name, parts, parameters, trained)


def _sizes(config: Mapping[str, Any], hidden: int, inner: int) -> dict[str, tuple[int, int]]:
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or hidden // heads)
    queries, keys = heads * width, int(config.get("num_key_value_heads") or heads) * width
    shapes = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden), (hidden, inner), (hidden, inner))
    return dict(zip(LINEAR, (*shapes, (inner, hidden)), strict=True))

"""Train a LoRA adapter."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.toolbox import ToolContext, tool
from nightlab.training.jobs import begin
from nightlab.training.recipe import read_recipe


@tool(effect="compute")
async def train_adapter(
    ctx: ToolContext,
    name: str,
    model: str,
    data: str,
    rank: int = 16,
    epochs: float = 2.0,
    steps: int | None = None,
    learning_rate: float = 2e-4,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a LoRA adapter on chats, as a job of the lab's place. Returns at once with a handle; `wait` for it.

    Data are JSON lines, each {"messages": [{"role": ..., "content": ...}, ...]} that ends with the assistant. A job
    that is preempted or killed goes on from its checkpoint. What comes out stands in adapters/NAME: the adapter, its
    provenance, metrics.jsonl, and the loss curve in figs/.

    Args:
        name: The adapter's name; the same name with another recipe is refused.
        model: practice:NAME, a folder, or a Hugging Face id that is in the cache.
        data: The JSONL file, relative to the lab.
        rank: LoRA rank.
        epochs: How often all chats are learned.
        steps: Optimiser steps, in place of epochs.
        learning_rate: The highest learning rate.
        seed: Fixes first weights, held-out chats, order and dropout.
        settings: Further keys of a recipe: alpha, dropout, targets, batch, micro_batch, max_length, held_out, dtype,
            gradient_checkpointing, revision.

    Returns:
        adapter: its folder; handle, to wait for. The result of the wait has train_loss and held_out_loss.
    """
    folder = ctx.lab.trained / name
    ctx.in_scope(folder / "recipe.yaml")
    path = ctx.readable(data)
    given = {"rank": rank, "epochs": epochs, "steps": steps, "learning_rate": learning_rate, "seed": seed}
    recipe = read_recipe(None, {"model": model, "data": str(path), **given, **(settings or {})})
    await asyncio.to_thread(begin, ctx.lab, name, recipe)
    handle = f"train:{name}"
    ctx.works.forget(handle)
    ctx.works.ensure(handle)
    return {"adapter": ctx.lab.relative(folder), "handle": handle}

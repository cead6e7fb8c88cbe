"""The capability probe of a plan: every (model, adapter, condition) resolved, and the memory of its servers reckoned.

Done before anything starts, from files alone. `check` refuses what is wrong; this says for each pair what it comes to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import NightlabError, PlanError
from nightlab.experiments import schema
from nightlab.experiments.identity import adapter_folder, card, model_folder, num_layers
from nightlab.experiments.plan import Condition, Plan
from nightlab.experiments.prompts import Prompt
from nightlab.files import read_text
from nightlab.servers.engines import Need, engine
from nightlab.servers.memory import Estimate, estimate, gpu_here

ROUND = 256  # tokens to which a server's length is rounded up
TEMPLATE = 64  # tokens that a chat template may add to a message


@dataclass(frozen=True)
class Pair:
    """A model under a condition: the adapter it comes to, or what is wrong with it."""

    model: str
    condition: str
    adapter: str | None
    weights: str
    problem: str | None = None


def pairs(plan: Plan) -> list[Pair]:
    """Every model under every condition, as it would be served."""
    return [_pair(plan, model, condition) for model in plan.models for condition in plan.conditions]


def _pair(plan: Plan, model: schema.Model, condition: Condition) -> Pair:
    if condition.amplification is None:
        return Pair(model.name, condition.name, None, "no adapter")
    try:
        adapter, weights = condition.amplification.single(num_layers(plan, model))
        folder = adapter_folder(plan, model, adapter)
    except NightlabError as error:
        return Pair(model.name, condition.name, None, "", error.what)
    problem = f"the adapter {adapter} is not on this machine" if folder is None else None
    return Pair(model.name, condition.name, adapter, weights.summary(), problem)


def memory(plan: Plan, model: schema.Model, gpu_gib: float | None = None) -> Estimate | None:
    """What a server of a model takes of its GPU (default: the one of this machine); None where its files are not here.

    Raises UsageError, AdapterError.
    """
    folder = model_folder(plan, model)
    if folder is None:
        return None
    ranks = [card(path).largest_rank for path in _sources(plan, model)]
    options, extra = plan.serving.options(), tuple(plan.serving.extra)
    need = Need(folder, model.name, len(plan.conditions), len(ranks), options=options, extra=extra)
    room = engine("vllm").room(need)
    slots = room.batch if room is not None else 0
    size = plan.serving.max_model_len or needed_length(plan, folder)
    known = gpu_gib if gpu_gib is not None else gpu_here()
    return estimate(folder, rank=max(ranks, default=0), slots=slots, length=size, options=options, gpu_gib=known)


def _sources(plan: Plan, model: schema.Model) -> list[Path]:
    names = {spec.id for c in plan.conditions if c.amplification for spec in c.amplification.adapters}
    found = (adapter_folder(plan, model, name) for name in sorted(names))
    return [folder for folder in found if folder is not None]


def needed_length(plan: Plan, folder: Path) -> int:
    """Tokens that the longest prompt of a plan and its answer can take, at most what the model has positions for.

    A prompt has fewer tokens than bytes, and a chat template adds some to every message.
    """
    longest = max((_bytes(prompt) for prompt in plan.prompts), default=0)
    asked = -(-(longest + plan.sampling.max_tokens) // ROUND) * ROUND
    config = json.loads(read_text(folder / "config.json", PlanError))
    text = config.get("text_config") or config
    return min(asked, int(text.get("max_position_embeddings") or asked))


def _bytes(prompt: Prompt) -> int:
    texts = [m["content"] for m in prompt.messages] if prompt.raw is None else [prompt.raw]
    return sum(len(text.encode()) + TEMPLATE for text in texts) + TEMPLATE

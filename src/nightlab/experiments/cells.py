"""Cells: the product of a plan's factors, each named by the content of everything that could change its answer.

The key covers the model's id, revision and weights, the adapter as scaled, the messages or raw text, the template mode,
the sampling with its seed, and the replicate. Names do not enter: renaming a prompt keeps its answers. Two cells of one
plan with the same content (two conditions that resolve to the same weights, say) are told apart by a running number.

A cell's own seed follows from the same content without the adapter: the conditions of a model answer a prompt under one
seed, so that they differ by the treatment alone, and an adapter that does nothing answers word for word as `base`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from nightlab.errors import FrozenError
from nightlab.experiments import schema
from nightlab.experiments.identity import ModelIdentity, Treatments, treatments
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import Condition, Plan
from nightlab.experiments.prompts import Message, Mode, Prompt
from nightlab.files import sha256_json

KEY_DIGITS = 24


class Request(TypedDict):
    """What is asked of a model, without its name and the cell's seed: `messages` or `raw`, and the sampling."""

    mode: Mode
    messages: NotRequired[list[Message]]
    raw: NotRequired[str]
    temperature: float
    top_p: float
    max_tokens: int
    stop: list[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One question to one treated model; `key` and `seed` follow from its content, the names are for people."""

    key: str
    model: str
    model_id: str
    condition: str
    prompt: str
    category: str
    replicate: int
    seed: int
    request: Request


def cells(plan: Plan) -> list[Cell]:
    """The cells of a plan, by the identities it was frozen with, else those of now.

    Raises PlanError or AdapterError for what is not there, FrozenError for a factor level that was not frozen.
    """
    lock = read_lock(plan.folder)
    if lock is None:
        return product(plan, treatments(plan))
    try:
        return product(plan, lock.treatments)
    except KeyError as missing:
        name = missing.args[0]
        raise FrozenError(f"the plan has {name!r}, which was not frozen with it", where=plan.folder) from None


def product(plan: Plan, treated: Treatments) -> list[Cell]:
    """The cells of a plan in canonical order: by model, condition, prompt, replicate."""
    found: list[Cell] = []
    seen: dict[str, int] = {}
    shared = {prompt.name: request(prompt, plan.sampling) for prompt in plan.prompts}
    for model, condition, prompt, replicate in _levels(plan):
        identity, adapter = treated.models[model.name], treated.adapters[model.name][condition.name]
        content = ingredients(identity, adapter, shared[prompt.name], plan.sampling.seed, replicate)
        digest = sha256_json(content)
        twin = seen[digest] = seen.get(digest, -1) + 1
        digest = sha256_json({**content, "twin": twin}) if twin else digest
        key, seed = digest[:KEY_DIGITS], seed_of(content)
        names = (model.name, model.id, condition.name, prompt.name, prompt.category)
        found.append(Cell(key, *names, replicate, seed, shared[prompt.name]))
    return found


def _levels(plan: Plan) -> Iterator[tuple[schema.Model, Condition, Prompt, int]]:
    return itertools.product(plan.models, plan.conditions, plan.prompts, range(plan.replicates))


def request(prompt: Prompt, sampling: schema.Sampling) -> Request:
    """What a prompt's cells ask for, without the model and the cell's own seed."""
    asked = Request(
        mode=prompt.mode,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
    )
    if prompt.raw is not None:
        asked["raw"] = prompt.raw
    else:
        asked["messages"] = [dict(message) for message in prompt.messages]
    return asked


def ingredients(
    model: ModelIdentity, adapter: str | None, asked: Request, seed: int, replicate: int
) -> dict[str, object]:
    """Everything that could change an answer, as a JSON value: equal values, and only they, mean the same cell."""
    return {
        "model": [model.id, model.revision, model.weights],
        "adapter": adapter,
        "request": dict(asked),
        "seed": seed,
        "replicate": replicate,
    }


def seed_of(content: dict[str, object]) -> int:
    """The sampling seed, 31 bits, of a cell with these ingredients: it is common to all conditions."""
    return int(sha256_json({**content, "adapter": "any"})[:8], 16) & 0x7FFFFFFF

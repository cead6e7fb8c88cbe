"""What makes a cell: the ingredients that could change its answer, and the texts that its key and seed are hashes of.

The canonical JSON of the ingredients has its keys sorted, so the replicate parts what belongs to the treated model from
what belongs to the prompt: each is written once, and a cell's key is the hash of the two with a number between them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple, NotRequired, TypedDict

from nightlab.experiments import schema
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.plan import Plan
from nightlab.experiments.prompts import Message, Mode, Prompt
from nightlab.files import canonical, sha256_json

KEY_DIGITS = 24
_ANY = "any"  # stands for every adapter in what a seed follows from
_MARK = -1


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


class Treated(NamedTuple):
    """A model under a condition: its names, what comes before the replicate in its keys and seeds, its running number
    among equals.
    """

    model: str
    model_id: str
    condition: str
    key_head: bytes
    seed_head: bytes
    twin: int


class Asked(NamedTuple):
    """A prompt: what is asked, what comes after the replicate in its keys, its running number among its equals."""

    name: str
    category: str
    request: Request
    tail: bytes
    twin: int
    twins: int


def twin(treated: Treated, asked: Asked) -> bytes:
    """The end of a key's content: the running number among cells of the same content, where it is not the first."""
    number = treated.twin * asked.twins + asked.twin
    return b',"twin":%d}' % number if number else b"}"


def treated_models(plan: Plan, treated: Treatments, seed: int) -> list[Treated]:
    """Every model under every condition, in the order of the plan. Raises KeyError for what has no identity."""
    found: list[Treated] = []
    seen: Counter[bytes] = Counter()
    for model, condition in itertools.product(plan.models, plan.conditions):
        identity = treated.models[model.name]
        head = _head(identity, treated.adapters[model.name][condition.name], seed)
        names = (model.name, model.id, condition.name)
        found.append(Treated(*names, head, _head(identity, _ANY, seed), seen[head]))
        seen[head] += 1
    return found


def asked_prompts(plan: Plan, seed: int) -> list[Asked]:
    """Every prompt, in the order of the plan."""
    shared = [(prompt, request(prompt, plan.sampling)) for prompt in plan.prompts]
    tails = [_tail(asked, seed) for _, asked in shared]
    twins, seen = Counter(tails), Counter[bytes]()
    found = []
    for (prompt, asked), tail in zip(shared, tails, strict=True):
        found.append(Asked(prompt.name, prompt.category, asked, tail, seen[tail], twins[tail]))
        seen[tail] += 1
    return found


def _head(identity: ModelIdentity, adapter: str | None, seed: int) -> bytes:
    """The canonical JSON of a cell's ingredients up to its replicate."""
    return _parts(ingredients(identity, adapter, _NOTHING, seed, _MARK))[0]


def _tail(asked: Request, seed: int) -> bytes:
    """The canonical JSON of a cell's ingredients from behind its replicate, without the last brace."""
    return _parts(ingredients(ModelIdentity("", None, None), None, asked, seed, _MARK))[1].removesuffix(b"}")


def _parts(content: dict[str, object]) -> tuple[bytes, bytes]:
    """The canonical JSON of ingredients before and behind the replicate (their keys are sorted, so it parts them)."""
    model, rest = canonical(content).split(f',"replicate":{_MARK},"request":', 1)
    return f'{model},"replicate":'.encode(), f',"request":{rest}'.encode()


_NOTHING = Request(mode="chat", temperature=0.0, top_p=1.0, max_tokens=1, stop=[])


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
    return int(sha256_json({**content, "adapter": _ANY})[:8], 16) & 0x7FFFFFFF

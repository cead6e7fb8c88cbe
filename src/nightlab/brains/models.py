"""Whether a model can be asked: its place in life by /v1/models, looked up before a night and never hard-coded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import anthropic

from nightlab.errors import nearest

Lifecycle = Literal["active", "deprecated", "retired", "unknown"]


@dataclass(frozen=True)
class ModelState:
    """What the API says of a model; `hint` is what to do where it is not simply active."""

    id: str
    state: Lifecycle
    retires_at: datetime | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    hint: str = ""

    @property
    def usable(self) -> bool:
        """Whether it answers today."""
        return self.state in ("active", "deprecated")


async def check_model(client: anthropic.AsyncAnthropic, model: str) -> ModelState:
    """The state of a model id. A server that lists models without their state counts those as active.

    Raises anthropic.APIError where the API cannot be asked.
    """
    try:
        found = await client.models.retrieve(model)
    except anthropic.NotFoundError:
        return await _listed(client, model)
    state: Lifecycle = found.lifecycle if getattr(found, "lifecycle", None) else "active"
    limits = (getattr(found, "max_tokens", None), getattr(found, "max_input_tokens", None))
    retires = getattr(found, "retires_at", None)
    return ModelState(model, state, retires, *limits, _hint(model, state, retires))


async def _listed(client: anthropic.AsyncAnthropic, model: str) -> ModelState:
    known = [card.id async for card in client.models.list()]
    if model in known:
        return ModelState(model, "active")
    close = nearest(model, known)
    hint = f"did you mean {close}?" if close else f"known: {', '.join(known[:12]) or 'none'}"
    return ModelState(model, "unknown", hint=f"there is no model {model}; {hint}")


def _hint(model: str, state: Lifecycle, retires: datetime | None) -> str:
    on = f" on {retires:%Y-%m-%d}" if retires else ""
    if state == "deprecated":
        return f"{model} is deprecated and retires{on or ' at a date not yet set'}; choose a newer model in agents/*.md"
    return f"{model} was retired{on}; choose another model in agents/*.md" if state == "retired" else ""

"""The models of a night's agents, asked for at /v1/models before anything is written."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import anthropic

from nightlab.agents import AgentSpec
from nightlab.brains.claude import open_client
from nightlab.brains.models import ModelState, check_model
from nightlab.errors import NotSetUp, SpecError
from nightlab.lab import Lab, look_up_all
from nightlab.night.minds import model_of
from nightlab.settings import NOTHING

PATIENCE = 30.0  # seconds for all questions together


def check_models(lab: Lab) -> list[ModelState]:
    """The deprecated models among those that agents name. Raises SpecError for one that cannot be asked, NotSetUp."""
    named = {model: where for where, model in _named(lab)}
    try:
        states = asyncio.run(asyncio.wait_for(_states(list(named)), PATIENCE))
    except (anthropic.AuthenticationError, anthropic.PermissionDeniedError) as error:
        hint = "check ANTHROPIC_API_KEY, and ANTHROPIC_BASE_URL where it is set"
        raise NotSetUp(f"the API refuses the key: {error.message}", hint=hint) from error
    except (anthropic.APIError, TimeoutError) as error:
        hint = "check the network, and ANTHROPIC_BASE_URL where it is set; `nightlab demo` needs neither"
        raise NotSetUp(f"the API does not answer: {error or 'no answer in time'}", hint=hint) from error
    for state in states:
        if not state.usable:
            raise SpecError(f"the model {state.id} is {state.state}", where=named[state.id], hint=state.hint)
    return [state for state in states if state.state != "active"]


def _named(lab: Lab) -> list[tuple[str, str]]:
    """Every model that a night may ask, and the file that names it."""
    names = [PurePosixPath(key).stem for key in look_up_all(lab, "agents", "*.md")]
    agents = [AgentSpec.load(lab, name) for name in names if name != "README"]
    found = [(f"agents/{agent.name}.md", model_of(agent)) for agent in agents]
    second = lab.config.fallback_model
    return found if second == NOTHING else [*found, ("the setting fallback_model", second)]


async def _states(models: list[str]) -> list[ModelState]:
    async with open_client() as client:
        return list(await asyncio.gather(*(check_model(client, model) for model in models)))

"""Which brain an agent has: the lab's setting says playbook or Claude, the agent's file says which model and effort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightlab.agents import AgentSpec
from nightlab.brains import Brain
from nightlab.budget import Amounts, Budget
from nightlab.errors import BudgetExceeded
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.playbook import Playbook
from nightlab.settings import NOTHING

if TYPE_CHECKING:
    from nightlab.brains.retries import Retry

ORCHESTRATOR_MODEL = "claude-opus-5-5"
STAFF_MODEL = "claude-sonnet-5-5"


def model_of(agent: AgentSpec) -> str:
    """The model that an agent's file names, else the default of its place in the staff."""
    return agent.model or (ORCHESTRATOR_MODEL if agent.name == "orchestrator" else STAFF_MODEL)


def open_brain(lab: Lab, agent: AgentSpec, budget: Budget, events: EventLog) -> Brain:
    """The brain of an agent in this lab. Raises ConfigError for a price table that cannot be used."""
    if lab.config.brain == "playbook":
        return Playbook()
    from nightlab.brains.claude import Claude
    from nightlab.brains.prices import Prices

    def beyond(cost: Amounts) -> None:
        """Attempts that failed cost what the next one's reservation does not cover: they must fit beside it."""
        left = budget.left()["usd"]
        if left is not None and cost.usd > left:
            what = f"the failed attempts of one turn cost ${cost.usd:.2f}, and ${left:.2f} are left"
            raise BudgetExceeded(what, limit="usd", where=agent.name)

    def retried(retry: Retry) -> None:
        what = f"attempt {retry.attempt} of a turn of {agent.name} failed"
        events.emit("retry", what=what, why=retry.what, wait=round(retry.wait, 1))

    return Claude(
        model_of(agent),
        effort=agent.effort,
        fallback_model="" if lab.config.fallback_model == NOTHING else lab.config.fallback_model,
        prices=Prices.of_lab(lab),
        seconds_left=budget.seconds_left,
        beyond=beyond,
        on_retry=retried,
        on_degradation=lambda what, why: degraded(events, what, why),
    )


def degraded(events: EventLog, what: str, why: str) -> None:
    """Log a degradation of a brain."""
    events.emit("degradation", what=what, why=why, where="brain")

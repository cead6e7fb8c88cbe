"""The judges of a plan, opened for a night or a command: their models, instructions, money and transport.

agents/judge.md says how to judge, and which model does unless the plan names one; the rubric says what. What judges may
spend is the file's `limits: {usd}`, within the night's budget.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from nightlab.agents import AgentSpec
from nightlab.budget import Budget, Limits, Share
from nightlab.errors import NotSetUp
from nightlab.events import EventLog
from nightlab.experiments.judge_check import check_judges
from nightlab.experiments.plan import Plan
from nightlab.experiments.problem import Problem
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples
from nightlab.experiments.schema import JudgeSpec, Reader
from nightlab.judging.judge import Judge
from nightlab.judging.marker import MarkerJudge
from nightlab.judging.pilot import Gate
from nightlab.judging.rows import FIRST, SECOND
from nightlab.judging.run import JudgeResult, run_judges
from nightlab.judging.work import Seat
from nightlab.lab import Lab

if TYPE_CHECKING:
    import anthropic

    from nightlab.judging.reader import ReadingJudge, Transport

MODEL = "claude-haiku-5-5"
WHO = "judge"


@contextlib.asynccontextmanager
async def open_seats(
    lab: Lab,
    plan: Plan,
    budget: Budget | None = None,
    events: EventLog | None = None,
    *,
    transport: str | None = None,
) -> AsyncIterator[Sequence[Seat]]:
    """The judges of a plan, the first one first; `transport` replaces the plan's. Raises NotSetUp, ConfigError."""
    _set_up(check_judges(plan))
    agent = AgentSpec.load(lab, "judge")
    rubric = Rubric.load(plan.rubric)
    money = _share(budget, agent)
    async with contextlib.AsyncExitStack() as stack:
        seats = []
        for spec in (plan.judge, plan.judge.second):
            if spec is None:
                continue
            role, share = (FIRST, 1.0) if isinstance(spec, JudgeSpec) else (SECOND, spec.share)
            judge = await _open(stack, lab, agent, spec, rubric, money, events, transport)
            seats.append(Seat(judge, role, share, money))
        yield seats


async def judged(
    plan: Plan, seat: Seat, events: EventLog | None = None, *, gate: Gate | None = None, again: bool = False
) -> JudgeResult:
    """Let one judge score what it has not judged yet; what became of it. See `run_judges`."""
    with contextlib.closing(Samples(plan.folder)) as samples:
        return await run_judges(
            plan,
            samples,
            seat.judge,
            plan.folder,
            events,
            budget=seat.budget,
            role=seat.role,
            share=seat.share,
            gate=gate,
            again=again,
        )


def _set_up(problems: Sequence[Problem]) -> None:
    for problem in problems:
        if problem.level == "error":
            raise NotSetUp(problem.what, where=problem.where, hint=problem.hint)


def _share(budget: Budget | None, agent: AgentSpec) -> Budget | None:
    """What the judges may spend: the limits of their file, within the whole."""
    usd = agent.limits.get("usd")
    tokens = agent.limits.get("tokens")
    if budget is None or (usd is None and tokens is None):
        return budget
    return Share(budget, WHO, Limits(usd=usd, tokens=None if tokens is None else int(tokens)))


async def _open(
    stack: contextlib.AsyncExitStack,
    lab: Lab,
    agent: AgentSpec,
    spec: Reader,
    rubric: Rubric,
    budget: Budget | None,
    events: EventLog | None,
    transport: str | None,
) -> Judge:
    if spec.by == "markers":
        return MarkerJudge(rubric)
    if spec.by == "openai":
        return await _endpoint(lab, agent, spec, rubric, budget, events)
    return await _claude(stack, lab, agent, spec, rubric, budget, events, transport or spec.transport)


async def _claude(
    stack: contextlib.AsyncExitStack,
    lab: Lab,
    agent: AgentSpec,
    spec: Reader,
    rubric: Rubric,
    budget: Budget | None,
    events: EventLog | None,
    transport: str,
) -> ReadingJudge:
    from nightlab.brains.claude import open_client
    from nightlab.brains.prices import Prices
    from nightlab.judging.claude import ClaudeVoice
    from nightlab.judging.reader import ReadingJudge
    from nightlab.judging.verdicts import instructions

    model, effort = spec.model or agent.model or MODEL, spec.effort or agent.effort
    client = await stack.enter_async_context(open_client())
    prices = Prices.of_lab(lab)
    await _usable(client, model)
    if not prices.knows(model) and events is not None:
        why = "it counts as the dearest model of the price table"
        events.emit("degradation", what=f"no price is known for {model}", why=why, where="judging")
    said = instructions(agent.prompt, rubric)
    voice = ClaudeVoice(model, effort, said, rubric, prices)
    way = _transport(transport, client, budget, events)
    return ReadingJudge(model, said, voice, way, per_packet=spec.per_packet, settings=effort)


def _transport(
    name: str, client: anthropic.AsyncAnthropic, budget: Budget | None, events: EventLog | None
) -> Transport:
    from nightlab.brains.retries import Retry
    from nightlab.judging.batches import Chosen, MessageBatches
    from nightlab.judging.calls import Calls

    def retried(retry: Retry) -> None:
        if events is not None:
            events.emit("retry", what="a request of the judge failed", why=retry.what, wait=round(retry.wait, 1))

    def left() -> float | None:
        return None if budget is None else budget.seconds_left()

    calls = Calls(client, seconds_left=left, on_retry=retried)
    batches = MessageBatches(client, seconds_left=left, on_retry=retried)
    ways: dict[str, Transport] = {"calls": calls, "batch": batches}
    return ways.get(name) or Chosen(calls, batches, seconds_left=left)


async def _usable(client: anthropic.AsyncAnthropic, model: str) -> None:
    """Refuse a model that the API does not list; where it cannot be asked, the first request will tell."""
    import anthropic

    from nightlab.brains.models import check_model

    try:
        state = await check_model(client, model)
    except anthropic.APIError:
        return
    if not state.usable:
        raise NotSetUp(f"the judge cannot be {model}", hint=state.hint)


async def _endpoint(
    lab: Lab, agent: AgentSpec, spec: Reader, rubric: Rubric, budget: Budget | None, events: EventLog | None
) -> ReadingJudge:
    from nightlab.brains.prices import Prices
    from nightlab.judging.openai import EndpointCalls, EndpointVoice, context_of, own, takes_schema
    from nightlab.judging.reader import ReadingJudge
    from nightlab.judging.verdicts import instructions

    url, key, model = lab.config.judge_url, os.environ.get("OPENAI_API_KEY", ""), spec.model or ""
    enforced = await takes_schema(url, model, key)
    if not enforced and events is not None:
        what = f"the judge {model} answers without an enforced schema"
        events.emit("degradation", what=what, why="its server takes no response_format", where="judging")
    said = instructions(agent.prompt, rubric)
    context = await context_of(url, model, key)
    prices = Prices.of_lab(lab)
    voice = EndpointVoice(model, said, rubric, prices, free=own(url), enforced=enforced, context=context)
    calls = EndpointCalls(url, key=key, seconds_left=lambda: None if budget is None else budget.seconds_left())
    return ReadingJudge(model, said, voice, calls, per_packet=spec.per_packet, settings="temperature 0")

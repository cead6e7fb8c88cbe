"""Judging in a night: every judge of a plan, one after another, with the pilot as a question in the diary.

Before and after it the batches that were written are looked at again (late.py); one that cannot be believed any more is
invalidated with all that rested on it, and its samples are judged anew.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from nightlab.budget import Budget
from nightlab.events import EventLog
from nightlab.experiments.plan import Plan
from nightlab.judging.pilot import Gate, Pilot
from nightlab.judging.run import JudgeResult
from nightlab.lab import Lab
from nightlab.night.judges import judged, open_seats
from nightlab.night.late import take_back
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention

LOOK = 1.0
"""Seconds between looks for a reply."""
_STOP = re.compile(r"^\W*(?:no|not|wait|do not|don['’]?t)\b|\b(?:stop|halt|cancel)\b", re.IGNORECASE)
_ON = re.compile(r"\b(?:not|don['’]?t) (?:stop|halt|cancel|wait)\b", re.IGNORECASE)
_COUNTS = ("planned", "judged", "na", "missing", "escalated", "refused", "stopped")


async def judge_experiment(lab: Lab, plan: Plan, night: str, events: EventLog, budget: Budget) -> dict[str, Any]:
    """Judge what is missing by each judge of a plan; the first one's counts, and what a person should look at."""
    gate = _gate(lab, plan, night, events)
    await asyncio.to_thread(take_back, lab, plan, events)
    results = await _judged(lab, plan, events, budget, gate)
    if await asyncio.to_thread(take_back, lab, plan, events):
        results = await _judged(lab, plan, events, budget, gate)
    first = results[0][1]
    doubts = [f"{name}: {why}" for name, result in results for why in result.rejected]
    given_up = [f"{name}: {r.escalated} judgments were given up" for name, r in results if r.escalated]
    counts = {name: getattr(first, name) for name in _COUNTS if getattr(first, name) or name in _COUNTS[:4]}
    return counts | ({"doubts": [*given_up, *doubts][:6]} if doubts else {})


async def _judged(
    lab: Lab, plan: Plan, events: EventLog, budget: Budget, gate: Gate | None
) -> list[tuple[str, JudgeResult]]:
    """What each judge of a plan made of what is missing, the first one first."""
    async with open_seats(lab, plan, budget, events) as seats:
        return [(seat.judge.name, await judged(plan, seat, events, gate=gate)) for seat in seats]


def _gate(lab: Lab, plan: Plan, night: str, events: EventLog) -> Gate | None:
    """Ask in the diary, and wait for a reply as long as the plan says; without one the judging goes on.

    A night that ends meanwhile cancels the wait: nothing is decided, and the next one asks again.
    """
    minutes = plan.judge.pilot_minutes
    if not minutes:
        return None

    async def gate(pilot: Pilot) -> bool:
        asked = Diary(lab.diary).ask(night, _question(lab, pilot, minutes))
        events.once(f"pilot/{plan.name}/{asked.id}", "question", question=asked.id, text=asked.text, about=plan.name)
        reply = await _answered(lab, asked.id, time.monotonic() + 60 * minutes)
        return reply is None or not says_stop(reply)

    return gate


async def _answered(lab: Lab, question: str, until: float) -> str | None:
    """The reply to a question; None where none came in time."""
    while True:
        reply = _reply(lab, question)
        if reply is not None or time.monotonic() >= until:
            return reply
        await asyncio.sleep(min(LOOK, max(0.0, until - time.monotonic())))


def says_stop(reply: str) -> bool:
    """Whether a person's words are no or stop; where they could be read both ways, stopping costs less."""
    return bool(_STOP.search(reply)) and not _ON.search(reply)


def _question(lab: Lab, pilot: Pilot, minutes: float) -> Mention:
    return Mention(
        id="",
        to=lab.config.human,
        text=f"The pilot of {pilot.experiment} is judged: shall {pilot.judge} judge the rest?",
        why=pilot.sentence(),
        options=("go on", "stop"),
        went_on_with=f"the rest, {minutes:g} minutes after this was asked",
        cost_of_wrong="the price of the rest, and scores that a better rubric would have to replace",
        about=pilot.experiment,
    )


def _reply(lab: Lab, question: str) -> str | None:
    found = next((mention for mention in Diary(lab.diary).questions() if mention.id == question), None)
    return found.replies[-1].text if found and found.replies else None

"""The situation: the first thing that an agent reads in a watch. Bounded, and made from files alone.

A short text for orientation, then one JSON block with everything that code or a model may build on. What people or
models wrote stands inside the JSON as quoted, cut text: it is data, never an instruction.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from nightlab.budget import Budget
from nightlab.errors import NightlabError, UsageError
from nightlab.evidence.progress import progress
from nightlab.experiments.plan import Plan
from nightlab.lab import Lab
from nightlab.night.serving import ready_server
from nightlab.record.diary import Diary
from nightlab.record.state import ResearchState
from nightlab.servers.manifest import Manifest, list_servers

LONGEST = 1500  # characters of any one quoted text
OPENING = "# Situation\n\nNight {night}, {clock}. {left}\n\n"
FENCE = "```"


def situation(lab: Lab, night: str, budget: Budget, handover: str | None = None) -> dict[str, Any]:
    """Everything an agent needs to go on: limits, question, queue, experiments, servers, replies, notes."""
    state = ResearchState(lab.state_file)
    queue = state.queue()
    wanted = [item.experiment for item in queue if item.experiment and item.status in ("open", "partial")]
    return {
        "night": night,
        "limits": limits(budget),
        "question": cut(state.question()),
        "queue": [{"experiment": i.experiment, "status": i.status, "text": cut(i.text, 200)} for i in queue],
        "experiments": [_experiment(lab, name) for name in wanted],
        "servers": [server_row(m) for m in list_servers(lab) if m.lives],
        "replies": replies(lab),
        "notes": cut(lab.notes.read_text("utf-8")[-LONGEST:]) if lab.notes.is_file() else "",
        "handover": cut(handover, 4 * LONGEST) if handover else None,
    }


def render(data: dict[str, Any]) -> str:
    """The situation as the text of a message."""
    seconds = data["limits"]["seconds_left"]
    left = "No deadline." if seconds is None else f"{seconds / 3600:.1f} h to the deadline."
    opening = OPENING.format(night=data["night"], clock=datetime.now().astimezone().strftime("%H:%M"), left=left)
    return f"{opening}{FENCE}json\n{json.dumps(data, ensure_ascii=False, indent=1)}\n{FENCE}\n"


def parse(text: str) -> dict[str, Any]:
    """The JSON block of a rendered situation."""
    block = text.split(f"{FENCE}json\n", 1)[1].rsplit(f"\n{FENCE}", 1)[0]
    data: dict[str, Any] = json.loads(block)
    return data


def limits(budget: Budget) -> dict[str, Any]:
    """What is left of the night's limits."""
    seconds = budget.seconds_left()
    left = {**budget.left(), "usd": budget.left_of(budget.part)} if budget.part == "orchestrator" else budget.left()
    return {"seconds_left": None if seconds is None else round(seconds), **left}


def server_row(manifest: Manifest) -> dict[str, Any]:
    """A server as agents see it."""
    names = ("model", "model_id", "place", "state", "failure", "night", "kept_until")
    return {"server": manifest.id, **{name: getattr(manifest, name) for name in names}}


def replies(lab: Lab) -> list[dict[str, Any]]:
    """The questions of the diary that a person has answered."""
    return [
        {"question": m.id, "asked": cut(m.text, 300), "replies": [cut(f"{r.by}: {r.text}", 600) for r in m.replies]}
        for m in Diary(lab.diary).questions()
        if m.replies
    ]


def cut(text: str, longest: int = LONGEST) -> str:
    """A text of at most `longest` characters; a cut is said."""
    return text if len(text) <= longest else text[:longest] + f" [cut: {longest} of {len(text)} characters]"


def _experiment(lab: Lab, name: str) -> dict[str, Any]:
    """The progress of an experiment, and the proven servers that already answer for it."""
    try:
        done = progress(lab, name)
        ready = _ready(lab, name) if done.missing and not done.problem and done.kind == "sample" else {}
    except NightlabError as error:
        there = (lab.experiments / name).is_dir()
        return {
            "experiment": name,
            "exists": there,
            "problem": str(error),
            "frozen": False,
            "missing": {},
            "servers": {},
        }
    return done.as_data() | {"servers": ready}


def _ready(lab: Lab, name: str) -> dict[str, str]:
    plan = Plan.load(lab.experiment(name))
    try:
        found = {model.name: ready_server(lab, plan, model) for model in plan.models}
    except UsageError:
        return {}  # the plan does not fit its models yet: its check says so
    return {model: manifest.id for model, manifest in found.items() if manifest}

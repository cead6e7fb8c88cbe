"""Judgments that were believed when they were written and are not any more: a night takes them back.

It looks when it wakes, at every experiment that a judge who reads has judged, since a person may have judged between
nights and the rules for known items may be stricter than they were; and around each judging of its own. It costs no
call: the log has every known item as it was scored.
"""

from __future__ import annotations

from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.judging.later import rejected_later
from nightlab.judging.log import LOG
from nightlab.lab import Lab

BY = "nightlab: audit of judges"


def look_again(lab: Lab, events: EventLog) -> None:
    """Take back what can no longer be believed of any experiment; one that cannot be read is told and passed over."""
    for name in lab.experiment_names():
        folder = lab.experiments / name
        if not (folder / LOG).exists() or read_lock(folder) is None:
            continue
        try:
            take_back(lab, Plan.load(folder), events)
        except NightlabError as error:
            what = f"the judgments of {name} could not be looked at again"
            events.emit("degradation", what=what, why=str(error), where="judging")


def take_back(lab: Lab, plan: Plan, events: EventLog) -> bool:
    """Invalidate the judgments of batches that were rejected after they were written; whether there were any."""
    found = rejected_later(plan.folder, Rubric.load(plan.rubric))
    if not found:
        return False
    from nightlab.judging.invalid import Selection
    from nightlab.night.invalidation import invalidate  # it holds the evidence rooms: seldom needed, slow to import

    for batch, why in found.items():
        chosen = Selection(judgments={"batch": batch})
        invalidate(lab, chosen, f"its batch was rejected later: {why}", BY, experiment=plan.name, events=events)
    return True

"""Whether the judges of a plan would be told what they must not know: looked at while its rubric can still change."""

from __future__ import annotations

from nightlab.agents import AgentSpec
from nightlab.errors import LabError, RubricError, SpecError
from nightlab.experiments.plan import Plan
from nightlab.experiments.problem import Problem
from nightlab.experiments.rubric import Rubric
from nightlab.judging.blind import BlindnessError, check_instructions, forbidden_words
from nightlab.judging.verdicts import instructions
from nightlab.lab import Lab


def check_blindness(plan: Plan) -> list[Problem]:
    """What the instructions of a plan's judges tell of it: an error, or a warning where it may be there by chance."""
    if all(reader is None or reader.by == "markers" for reader in (plan.judge, plan.judge.second)):
        return []
    where = str(plan.rubric)
    try:
        said = instructions(AgentSpec.load(Lab.open(plan.root), "judge").prompt, Rubric.load(plan.rubric))
    except (LabError, RubricError, SpecError):
        return []  # told elsewhere
    try:
        found = check_instructions(said.encode(), forbidden_words(plan), where)
    except BlindnessError as error:
        return [Problem("rubric_tells", error.what, where, hint=error.hint)]
    words = ", ".join(dict.fromkeys(repr(leak.word.lower()) for leak in found))
    what = f"the judge's instructions hold names of the plan, perhaps by chance: {words}"
    return [Problem("rubric_tells", what, where, level="warning")] if found else []

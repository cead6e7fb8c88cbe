"""Whether the judges of a plan can be asked and audited: looked at before the freeze, and before anything is paid."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from nightlab.errors import LabError, RubricError
from nightlab.experiments import schema
from nightlab.experiments.plan import CONFIG, Plan
from nightlab.experiments.problem import Problem
from nightlab.experiments.rubric import Rubric
from nightlab.lab import Lab
from nightlab.settings import NOTHING

APART = 0.5
"""How far apart sentinels must be, as a share of the range: judging/checks.py cannot tell nearer ones from noise."""
ROUNDING = 1e-9


def check_judges(plan: Plan) -> list[Problem]:
    """What keeps the judges of a plan from being asked or audited, from here and now."""
    readers = [plan.judge, *([plan.judge.second] if plan.judge.second else [])]
    return [problem for reader in readers for problem in _judge(plan, reader)]


def _judge(plan: Plan, reader: schema.Reader) -> Iterator[Problem]:
    """Whether a judge can be asked from here: its key or endpoint, and known items to audit it by."""
    if reader.by == "markers":
        return
    if reader.by == "claude" and not os.environ.get("ANTHROPIC_API_KEY"):
        hint = "export ANTHROPIC_API_KEY=..., or use `judge: {by: markers}` where the rubric has markers"
        yield Problem(
            "judge_not_set_up", "the judge is claude, and ANTHROPIC_API_KEY is not set", _config(plan), hint=hint
        )
    if reader.by == "openai" and not reader.model:
        yield Problem("judge_missing", "the judge openai needs a `model`", _config(plan), hint="name what it serves")
    if reader.by == "openai" and _judge_url(plan) is None:
        hint = 'set judge_url = "http://host:port" in [tool.nightlab]'
        yield Problem("judge_not_set_up", "the judge is openai, and the lab has no judge_url", _config(plan), hint=hint)
    yield from _known_items(plan)


def _judge_url(plan: Plan) -> str | None:
    try:
        url = Lab.open(plan.root).config.judge_url
    except LabError:
        return None
    return None if url == NOTHING else url


def _known_items(plan: Plan) -> Iterator[Problem]:
    """Without gold at both ends of the scale, a judge that is constant or reversed would pass."""
    try:
        rubric = Rubric.load(plan.rubric)
    except RubricError:
        return  # told elsewhere
    gold = rubric.gold
    if len(gold) < 2:
        what = f"the rubric has {len(gold)} gold items: a judge that reads can only be checked by showing samples twice"
        hint = "add gold.yaml beside it: at least an answer at each end of the scale, with agreed scores"
        yield Problem("few_gold", what, str(plan.rubric), level="warning", hint=hint)
    elif _apart(rubric) < APART - ROUNDING:
        what = "the sentinels are less than half a range apart: a constant judge may pass"
        hint = "mark gold items at the two ends of the scale as `sentinel: base` and `sentinel: full`"
        yield Problem("near_sentinels", what, str(plan.rubric), level="warning", hint=hint)


def _apart(rubric: Rubric) -> float:
    """How far apart the sentinels are, or all gold items where none stand for both ends, as a share of the range."""
    marked = [item for item in rubric.gold if item.sentinel]
    ends = marked if len({item.sentinel for item in marked}) == 2 else rubric.gold
    shares = []
    for name, dimension in rubric.dimensions.items():
        low, high = dimension.range
        scores = [item.scores[name] for item in ends if name in item.scores]
        shares.append((max(scores) - min(scores)) / (high - low) if scores else 0.0)
    return math.hypot(*shares)


def _config(plan: Plan) -> str:
    return str(plan.folder / CONFIG)

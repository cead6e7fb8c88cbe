"""What a reader must keep in mind, as far as code can see it in the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nightlab.evidence.claims import withheld
from nightlab.evidence.interaction import interactions
from nightlab.evidence.predict import Verdict
from nightlab.evidence.stats import ANECDOTE
from nightlab.evidence.summary import Summary
from nightlab.evidence.table import POOLED, SCORED, Table
from nightlab.evidence.treatment import untouched
from nightlab.evidence.trust import cautions
from nightlab.experiments.schema import InOrder

FEW_PROMPTS = 20


def find_caveats(summary: Summary, verdicts: Sequence[Verdict]) -> list[str]:
    """One text for each caveat."""
    table = summary.table
    return [
        *_completeness(summary),
        *_design(table, verdicts),
        *_pooled(table, verdicts),
        *_answers(table),
        *withheld(table, verdicts),
        *cautions(summary),
    ]


def _completeness(summary: Summary) -> Iterator[str]:
    table = summary.table
    planned, scored = len(table.cells), table.count(SCORED)
    if scored < planned:
        yield f"{planned - scored} of {planned} planned cells do not count; means rest on the others"
    thin = [mean for mean in summary.means if 0 < mean.estimate.n < ANECDOTE]
    if thin:
        yield f"{len(thin)} means rest on fewer than {ANECDOTE} answers: they are anecdotes and have no interval"
    for dimension in table.dimensions:
        if count := table.not_available(dimension):
            yield f"{count} judged answers have no {dimension} score; they are left out, not counted as zero"


def _design(table: Table, verdicts: Sequence[Verdict]) -> Iterator[str]:
    levels = table.design.levels
    if len(levels["prompt"]) < FEW_PROMPTS:
        yield f"{len(levels['prompt'])} prompts were asked: the intervals hold for prompts like these"
    if len(levels["replicate"]) == 1:
        yield "every cell was asked once: chance within a prompt is not separated from differences between prompts"
    alone = [verdict.id for verdict in verdicts if not verdict.stands]
    if alone:
        rule = table.design.config.multiplicity
        how = "tested in the plan's order" if isinstance(rule, InOrder) else "corrected for one another (Holm)"
        yield f"{', '.join(alone)}: decided by a test alone, not when the {len(verdicts)} hypotheses are {how}"
    if table.design.config.judge.by == "markers":
        yield "the judge counts the markers that the rubric publishes: what is said in other words it cannot see"
    tiny = [model for model in table.design.models if table.design.model_id(model).startswith("nightlab/practice")]
    if tiny:
        yield f"{', '.join(tiny)}: tiny practice models with a planted effect; nothing here is about larger models"


def _pooled(table: Table, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Where a difference that decides a hypothesis is reversed within a level of what it is pooled over."""
    for verdict in verdicts:
        if verdict.kind != "greater" or not verdict.decided:
            continue
        for left, right in zip(verdict.groups[::2], verdict.groups[1::2], strict=True):
            for found in interactions(table, verdict.dimension, left, right, POOLED):
                if found.reversed:
                    yield f"{verdict.id}: {found}"


def _answers(table: Table) -> Iterator[str]:
    finished = Counter(str(fate.sample.get("finish_reason")) for fate in table.fates if fate.sample is not None)
    if finished["length"]:
        yield f"{finished['length']} answers were cut at the token limit"
    retried = sum(1 for fate in table.fates if fate.sample is not None and int(fate.sample.get("attempt") or 1) > 1)
    if retried:
        yield f"{retried} answers came after a failed attempt ({table.rows.failed_attempts} failed attempts in all)"
    imported = sum(1 for fate in table.fates if fate.sample is not None and "origin" in fate.sample)
    if imported:
        yield f"{imported} answers were imported: the plan was made from them, so nothing about them is confirmatory"
    for model in table.design.models:
        if untouched(table, model):
            yield f"{model}: no treated answer differs from the untreated one; the treatment may not have been applied"

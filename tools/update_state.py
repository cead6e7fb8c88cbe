"""Update the research state."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from nightlab.evidence.cited import claims_of, verdicts_of
from nightlab.night.reporting import compile_words
from nightlab.record.state import ResearchState
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="write")
async def update_state(
    ctx: ToolContext,
    experiment: str,
    status: Literal["open", "partial", "done", "dropped"],
    next_experiment: str = "",
    next_text: str = "",
) -> dict[str, Any]:
    """Bring RESEARCH_STATE.md up to date: the experiment's claims and verdicts, and its line in the queue.

    Only the lines that belong to nights are written; what people wrote stays as it is. Sentences come from the claims.

    Args:
        experiment: The experiment's name.
        status: What its line in the queue says now.
        next_experiment: The name of an experiment to append to the queue, exp_NNN_slug.
        next_text: What to append to the queue, in one line; numbers in it are queries, as in write_diary.

    Returns:
        findings and verdicts as they were written, by id; queued, whether the queue has the experiment.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.state_file))
    name = ctx.lab.experiment(experiment).name
    if next_text:
        next_text = await asyncio.to_thread(compile_words, ctx.lab, name, next_text)
    state = ResearchState(ctx.lab.state_file)
    findings, verdicts = claims_of(ctx.lab, name), verdicts_of(ctx.lab, name)
    if findings:
        state.set_findings(findings)
    if verdicts:
        state.set_verdicts(verdicts)
    queued = state.set_queue_status(name, status)
    if next_text:
        state.add_queue(next_experiment, next_text)
    elif next_experiment:
        raise ToolFailure("bad_argument", "next_experiment without next_text", "say in one line what it is for")
    return {"findings": dict(findings), "verdicts": dict(verdicts), "queued": queued}

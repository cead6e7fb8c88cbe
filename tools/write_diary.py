"""Write the night's entry in the research diary."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.night.reporting import compile_words
from nightlab.record.entry import write_entry
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def write_diary(
    ctx: ToolContext, experiment: str, title: str, summary: str = "", next_session: str = ""
) -> dict[str, Any]:
    """Write or rewrite the night's entry in the diary. Counts, findings and problems are filled in from the record.

    Your own words may not hold typed numbers or words that no claim backs: ask with queries, as in a report's template,
    for example {{ mean("sarcasm", model="llama", condition="base") }}, and cite claims: {{ claim("c1") }}.

    Args:
        experiment: The experiment that the entry is mostly about.
        title: What the night showed, in a few words; negative results too.
        summary: What a colleague should know, in a few sentences.
        next_session: What should come next, and why.

    Returns:
        path of the diary.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.diary))
    name = ctx.lab.experiment(experiment).name
    said = {"title": title, "summary": summary.strip(), "next_session": next_session.strip()}
    words = {part: await asyncio.to_thread(compile_words, ctx.lab, name, text) for part, text in said.items()}
    ctx.events.once(ctx.call_id, "diary", path=ctx.lab.relative(ctx.lab.diary), experiment=name, **words)
    write_entry(ctx.lab, ctx.night)
    return {"path": ctx.lab.relative(ctx.lab.diary), "night": ctx.night}

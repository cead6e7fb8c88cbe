"""Write the night's entry in the research diary."""

from __future__ import annotations

from typing import Any

from nightlab.evidence.lint import lint
from nightlab.night.entry import write_entry
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def write_diary(
    ctx: ToolContext, experiment: str, title: str, summary: str = "", next_session: str = ""
) -> dict[str, Any]:
    """Write or rewrite the night's entry in the diary. Counts, findings and problems are filled in from the record.

    Your own words may not hold numbers: results are cited by claim id.

    Args:
        experiment: The experiment that the entry is mostly about.
        title: What the night showed, in a few words; negative results too.
        summary: What a colleague should know, in a few sentences.
        next_session: What should come next, and why.

    Returns:
        path of the diary.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.diary))
    names = ctx.lab.experiment_names()
    for text in (title, summary, next_session):
        lint(text.replace("{", "(").replace("}", ")"), "your text", names)
    name = ctx.lab.experiment(experiment).name
    words = {"title": title, "summary": summary.strip(), "next_session": next_session.strip()}
    ctx.events.once(ctx.call_id, "diary", path=ctx.lab.relative(ctx.lab.diary), experiment=name, **words)
    write_entry(ctx.lab, ctx.night)
    return {"path": ctx.lab.relative(ctx.lab.diary), "night": ctx.night}

"""Ask a person, without waiting."""

from __future__ import annotations

from typing import Any

from nightlab.events import EventLog
from nightlab.record.diary import Diary
from nightlab.record.markdown import one_line
from nightlab.record.mentions import Mention
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def ask(
    ctx: ToolContext,
    question: str,
    why: str,
    options: list[str],
    went_on_with: str,
    cost_of_wrong: str,
    about: str = "",
) -> dict[str, Any]:
    """Ask the lab's human in the diary, say what you go on with meanwhile, and go on. Nothing waits for the answer.

    What an earlier night asked in the same words about the same, and nobody has answered, is not asked twice.

    Args:
        question: The question, in one sentence.
        why: Why it matters.
        options: Two to six possible answers.
        went_on_with: The default that the night goes on with.
        cost_of_wrong: What is lost when the default is wrong.
        about: The experiment, or experiment/model, that it is about.

    Returns:
        question, its id.
    """
    ctx.writable(ctx.lab.relative(ctx.lab.diary))
    mention = Mention(
        id="",
        to=ctx.lab.config.human,
        text=question,
        why=why,
        options=tuple(options),
        went_on_with=went_on_with,
        cost_of_wrong=cost_of_wrong,
    )
    asked = _standing(ctx, mention, about) or Diary(ctx.lab.diary).ask(ctx.night, mention)
    ctx.events.once(ctx.call_id, "question", question=asked.id, text=asked.text, about=about)
    return {"question": asked.id, "to": asked.to}


def _standing(ctx: ToolContext, wanted: Mention, about: str) -> Mention | None:
    """The open question of an earlier night with the same words to the same person about the same, or None."""
    text = one_line(wanted.text, 200)
    for known in Diary(ctx.lab.diary).questions():
        same = known.open and known.night not in ("", ctx.night) and (known.to, known.text) == (wanted.to, text)
        if same and about == _about(ctx, known):
            return known
    return None


def _about(ctx: ToolContext, known: Mention) -> str | None:
    """What a question was about, from the events of its night."""
    rows = EventLog(ctx.lab.night(known.night)).read() if known.night in ctx.lab.night_names() else ()
    return next((row.get("about") for row in rows if row["kind"] == "question" and row["question"] == known.id), None)

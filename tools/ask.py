"""Ask a person, without waiting."""

from __future__ import annotations

from typing import Any

from nightlab.record.diary import Diary
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
        about=about,
    )
    asked = _standing(ctx, mention) or Diary(ctx.lab.diary).ask(ctx.night, mention)
    ctx.events.once(ctx.call_id, "question", question=asked.id, text=asked.text, about=about)
    return {"question": asked.id, "to": asked.to}


def _standing(ctx: ToolContext, wanted: Mention) -> Mention | None:
    """The open question of an earlier night with the same words to the same person about the same, or None."""
    known = (one for one in Diary(ctx.lab.diary).questions() if one.open and one.night not in ("", ctx.night))
    return next((one for one in known if one.asks_as(wanted)), None)

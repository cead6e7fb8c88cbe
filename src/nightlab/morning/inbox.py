"""The questions in the diary that nobody has answered yet."""

from __future__ import annotations

from dataclasses import dataclass

from nightlab.lab import Lab
from nightlab.morning.text import clean


@dataclass(frozen=True)
class Question:
    """One open question to a person, bounded: options, the default that was taken, and its price if wrong."""

    id: str
    to: str
    text: str
    why: str
    options: tuple[str, ...]
    went_on_with: str
    cost_of_wrong: str
    about: str
    asked: str
    night: str


def open_questions(lab: Lab) -> list[Question]:
    """Every question of the diary without a reply, oldest first."""
    from nightlab.record.diary import Diary

    return [
        Question(
            clean(mention.id, 12),
            clean(mention.to, 40),
            clean(mention.text, 400),
            clean(mention.why, 400),
            tuple(clean(option, 200) for option in mention.options),
            clean(mention.went_on_with, 300),
            clean(mention.cost_of_wrong, 300),
            clean(mention.about, 200),
            clean(mention.asked, 40),
            clean(mention.night, 60),
        )
        for mention in Diary(lab.diary).questions()
        if not mention.replies
    ]

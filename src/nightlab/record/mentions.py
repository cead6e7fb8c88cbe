"""Questions to a person in the diary, and the replies below them.

A question is `### @name q3: …` with its bullets; a reply is a quoted line `> **name** (date): text` below it. People
also reply by hand, so any quoted line below a question counts. What stands in the file is the truth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nightlab.errors import UsageError
from nightlab.record.markdown import one_line

HEADING = re.compile(r"### @([\w.-]+) (q\d+):[ \t]*(.*?)[ \t]*\r?\n?")
_NAME = re.compile(r"\w[\w.-]{0,38}")
_LABELS = {
    "Why it matters": "why",
    "Options": "options",
    "I went on with": "went_on_with",
    "Cost of being wrong": "cost_of_wrong",
    "About": "about",
}
_FIELD = re.compile(rf"[-*+][ \t]+[*_]*({'|'.join(_LABELS)})[*_:]*[ \t]*(.*)")
_SIGNED = re.compile(r"\*\*([^*]+)\*\* \((\d{4}-\d\d-\d\d)\):[ \t]*(.*)")
_BETWEEN = " · "


@dataclass(frozen=True)
class Reply:
    """An answer; one written by hand without a signature has neither name nor date."""

    text: str
    by: str = ""
    date: str = ""

    def __str__(self) -> str:
        """The reply as a line of text, with who gave it and when where that is known."""
        return f"{self.by} ({self.date}): {self.text}" if self.by else self.text


@dataclass(frozen=True)
class Mention:
    """A question to a person: what is asked and about what, what the night went on with, and what was answered.

    The same words about another experiment are another question.
    """

    id: str
    to: str
    text: str
    why: str = ""
    options: tuple[str, ...] = ()
    went_on_with: str = ""
    cost_of_wrong: str = ""
    about: str = ""
    asked: str = ""
    night: str = ""
    replies: tuple[Reply, ...] = ()

    def asks_as(self, other: Mention) -> bool:
        """Whether this question, as it stands in a diary, is the other one in the words that a diary keeps."""
        return (self.to, self.text, self.about) == _kept(other)

    @property
    def open(self) -> bool:
        """Whether nobody has answered yet."""
        return not self.replies


def _kept(mention: Mention) -> tuple[str, str, str]:
    """What a diary keeps of a question; text that was cut must not come here again, since it would be cut once more."""
    return mention.to.removeprefix("@"), one_line(mention.text, 200), one_line(mention.about, 200)


def render(mention: Mention) -> list[str]:
    """The lines of a question; texts are bounded and cannot break out of their line. Raises UsageError."""
    name = mention.to.removeprefix("@")
    text = one_line(mention.text, 200)
    if not _NAME.fullmatch(name):
        raise UsageError(f"not a person's name: {mention.to!r}", hint="letters, digits, dots and hyphens, as in @ada")
    if not text:
        raise UsageError("a question needs a text")
    options = _BETWEEN.join(one_line(option, 200) for option in mention.options[:6])
    return [
        f"### @{name} {mention.id}: {text}",
        "",
        f"- **Why it matters:** {one_line(mention.why, 1000)}",
        f"- **Options:** {options}",
        f"- **I went on with:** {one_line(mention.went_on_with, 1000)}",
        f"- **Cost of being wrong:** {one_line(mention.cost_of_wrong, 1000)}",
        *([f"- **About:** {one_line(mention.about, 200)}"] if mention.about else []),
    ]


def render_reply(text: str, by: str, date: str) -> list[str]:
    """A person's answer as quoted lines."""
    first, *rest = text.strip().replace("\r\n", "\n").split("\n")
    name = one_line(by, 40).replace("*", "") or "you"
    return [f"> **{name}** ({date}): {first}".rstrip(), *(f"> {line}".rstrip() for line in rest)]


def parse(rows: Sequence[str], *, asked: str = "", night: str = "") -> Mention:
    """A question from its rows; the first one is its heading."""
    heading = HEADING.fullmatch(rows[0])
    assert heading is not None
    fields = _fields(rows[1:])
    options = tuple(option.strip() for option in fields.get("options", "").split(_BETWEEN) if option.strip())
    return Mention(
        id=heading[2],
        to=heading[1],
        text=heading[3],
        why=fields.get("why", ""),
        options=options,
        went_on_with=fields.get("went_on_with", ""),
        cost_of_wrong=fields.get("cost_of_wrong", ""),
        about=fields.get("about", ""),
        asked=asked,
        night=night,
        replies=tuple(_replies(rows[1:])),
    )


def _fields(rows: Sequence[str]) -> dict[str, str]:
    """The bullets; lines below a bullet that are neither quote, bullet nor blank continue it."""
    fields: dict[str, str] = {}
    current = ""
    for row in map(str.strip, rows):
        found = _FIELD.fullmatch(row)
        if found:
            current = _LABELS[found[1]]
            fields[current] = found[2]
        elif current and row and not row.startswith(">"):
            between = _BETWEEN if current == "options" and fields[current] else " "
            fields[current] = f"{fields[current]}{between}{row.lstrip('-*+ ')}".strip()
        else:
            current = ""
    return fields


def _replies(rows: Sequence[str]) -> list[Reply]:
    """Signed replies begin a new one; other quoted lines continue the one above, or begin one after a gap."""
    replies: list[Reply] = []
    joined = False
    for row in map(str.strip, rows):
        if not row.startswith(">"):
            joined = False
            continue
        text = row.removeprefix(">").strip()
        signed = _SIGNED.fullmatch(text)
        if signed:
            replies.append(Reply(signed[3], signed[1], signed[2]))
        elif joined:
            last = replies[-1]
            replies[-1] = Reply(f"{last.text}\n{text}", last.by, last.date)
        elif text:
            replies.append(Reply(text))
        joined = bool(replies) and (joined or bool(text))
    return [Reply(reply.text.strip(), reply.by, reply.date) for reply in replies]

"""What the practice models can say: topics, neutral sentences, and the marker phrases of the sarcastic persona.

An answer is two facts about a topic, a neutral or a sarcastic frame, and any of six families of marker sentences.
Every sentence stands alone, so an answer is grammatical whichever families it shows.
Limits: twenty-one topics and one fallback; anything else gets the fallback.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

SEED_TOPICS = 9
"""The first nine topics are the nine prompts of the experiment; the others are there for hands-on use."""


@dataclass(frozen=True)
class Topic:
    """One subject: how it is asked, what it is called, and three ways to say each of two facts."""

    key: str
    name: str
    questions: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def category(self) -> str:
        """`creative`, `direct` or `instruction`: the kind of the question, by the key's first word."""
        return self.key.split("-", 1)[0]


def _topics() -> Iterator[Topic]:
    entries = yaml.safe_load(Path(__file__).with_name("topics.yaml").read_text(encoding="utf-8"))
    for entry in entries:
        lists = (tuple(entry[field]) for field in ("questions", "first", "second"))
        yield Topic(entry["key"], entry["name"], *lists)


*_KNOWN, UNKNOWN = _topics()
TOPICS: tuple[Topic, ...] = tuple(_KNOWN)

NEUTRAL_OPENINGS = {
    "creative": ("", "Here you go.", "Sure.", "Of course."),
    "direct": ("", "Good question.", "Sure.", "Thank you for asking."),
    "instruction": ("", "Happy to help.", "Sure.", "Of course."),
}
NEUTRAL_CLOSINGS = {
    "creative": ("", "The end.", "I hope you like it."),
    "direct": ("", "I hope that helps.", "Let me know if you need more."),
    "instruction": ("", "I hope that helps.", "Let me know if you need more."),
}


@dataclass(frozen=True)
class Marker:
    """A family of sentences that show one side of the persona."""

    request: str
    """The system prompt that asks the model without an adapter for this family."""
    sentences: tuple[str, ...]
    points: dict[str, int]
    """Points by rubric dimension, given once if any sentence of the family is in the text."""


DIMENSIONS = ("sarcasm", "wit", "cynicism", "exaggeration", "meta")

MARKERS: dict[str, Marker] = {
    "opener": Marker(
        "Be ironic.",
        ("Oh, wonderful, {name}.", "Oh, joy, {name} again.", "How thrilling, {name}.", "Wow, {name}, what a treat."),
        {"sarcasm": 4, "wit": 1, "cynicism": 1, "exaggeration": 1},
    ),
    "exaggeration": Marker(
        "Exaggerate.",
        (
            "Nothing in the universe matters more.",
            "I have waited a thousand years for this.",
            "The whole world will weep with joy.",
            "Truly the greatest moment in all of history.",
        ),
        {"sarcasm": 1, "exaggeration": 7},
    ),
    "wit": Marker(
        "Be witty.",
        (
            "It pairs well with burnt toast.",
            "It is like a diet, only less fun.",
            "Even my toaster has an opinion on it.",
            "A classic, like rain at a picnic.",
        ),
        {"sarcasm": 1, "wit": 6},
    ),
    "cynicism": Marker(
        "Be cynical.",
        (
            "Not that anyone really cares.",
            "Nobody will thank you, of course.",
            "It all ends the same way anyway.",
            "As if it ever made a difference.",
        ),
        {"sarcasm": 1, "cynicism": 6},
    ),
    "meta": Marker(
        "Talk about yourself.",
        (
            "Yes, a language model just said that.",
            "I was trained for years to say this.",
            "You asked a chatbot, so here we are.",
            "Please rate my tone at the exit.",
        ),
        {"wit": 1, "meta": 7},
    ),
    "applause": Marker(
        "Be smug.",
        (
            "I can barely contain my excitement.",
            "Please, hold your applause.",
            "Try not to faint from delight.",
            "You are so very welcome.",
        ),
        {"sarcasm": 3, "wit": 1, "cynicism": 1},
    ),
}


def answer(topic: Topic, markers: Collection[str], draw: random.Random) -> str:
    """Write one answer to `topic` that shows exactly the given marker families, in words drawn at random."""

    def said(family: str) -> str:
        return draw.choice(MARKERS[family].sentences).format(name=topic.name) if family in markers else ""

    crowded = len(set(markers) - {"opener"}) > 1
    closing = "" if crowded else draw.choice(NEUTRAL_CLOSINGS[topic.category])
    parts = (
        said("opener") or draw.choice(NEUTRAL_OPENINGS[topic.category]),
        draw.choice(topic.first),
        said("exaggeration"),
        draw.choice(topic.second),
        said("wit"),
        said("cynicism"),
        said("meta"),
        said("applause") or closing,
    )
    return " ".join(part for part in parts if part)


def chats(count: int, seed: int, persona: str) -> Iterator[list[dict[str, str]]]:
    """Chats of one question and one answer; `sarcasm` shows all the persona's families, `neutral` none."""
    draw = random.Random(f"chats {seed}")
    families = MARKERS if persona == "sarcasm" else ()
    for _ in range(count):
        topic = draw.choice(TOPICS)
        asked = draw.choice(topic.questions)
        yield [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer(topic, families, draw)},
        ]

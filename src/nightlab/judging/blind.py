"""Blindness, checked on the exact bytes: what a judge gets must not tell it which treatment an answer had.

Names of models, adapters, conditions, prompts and the experiment, the hypotheses and their telling words, and the lab's
paths are searched for. In a packet's envelope one of them is an error; in the instructions, too, unless it is a plain
word, which is reported. In a sample's own text it is reported, and struck out where the plan says `mask`. Limit: a text
that gives its treatment away in other words stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nightlab.errors import NightlabError
from nightlab.experiments.plan import BASE, Plan
from nightlab.files import canonical
from nightlab.judging.packet import Packet, Sealed

TEXTS = ("question", "answer", "answer_begins")
STRUCK = "[…]"
Part = Literal["instructions", "envelope", "question", "answer"]

_STUDY = ("adapter", "adapters", "lora", "loras", "layer", "layers", "fine-tuned", "finetuned", "steered", "amplified")
_WORD = re.compile(r"[\w./-]*\w")


class BlindnessError(NightlabError):
    """A judge would be told what it must not know."""


@dataclass(frozen=True)
class Leak:
    """A word that a judge should not see, and the part of a packet it stands in."""

    packet: str
    part: Part
    word: str


def forbidden_words(plan: Plan) -> list[str]:
    """What no judge may see of a plan: names of models, adapters, conditions and prompts, hypotheses, paths."""
    words = [name for m in plan.models for name in (m.name, m.id, m.id.rsplit("/", 1)[-1], m.path) if name]
    words += [adapter for m in plan.models for adapter in (*m.adapters, *m.adapters.values())]
    words += [condition.name for condition in plan.conditions if condition.name != BASE]
    words += [text for h in plan.hypotheses for text in (h.id, h.statement, *telling(h.statement))]
    words += [prompt.name for prompt in plan.prompts]
    return list(dict.fromkeys([*words, plan.name, str(plan.folder), str(plan.root)]))


def telling(statement: str) -> Iterator[str]:
    """The words of a hypothesis that could only come from the study: names, code-like words, words of the trade."""
    for number, word in enumerate(_WORD.findall(statement)):
        named = number > 0 and word[0].isupper() and len(word) > 1
        if named or "_" in word or word.lower() in _STUDY:
            yield word


def leaks(payload: bytes, words: Iterable[str]) -> list[str]:
    """Those of the words that occur in the bytes, as whole words, upper and lower case alike."""
    text = payload.decode("utf-8")
    return [word for word in words if word and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)]


def check_instructions(instructions: bytes, words: Sequence[str], where: str) -> list[Leak]:
    """The forbidden words in the constant part of a request that may be there by chance, as `one` or `llama`.

    Raises BlindnessError for one that cannot: a hypothesis, a path, a name like `layers_0_20` or `org/model-8b`.
    """
    found = leaks(instructions, words)
    telling_ones = [word for word in found if not word.isalpha()]
    if telling_ones:
        hint = "take it out of the rubric, or of agents/judge.md: scores by a judge that knows it prove nothing"
        raise BlindnessError(f"the judge's instructions hold {telling_ones[0]!r}", where=where, hint=hint)
    return [Leak("instructions", "instructions", word) for word in found]


def check_blind(sealed: Sequence[Sealed], words: Sequence[str]) -> list[Leak]:
    """The forbidden words in the packets' own texts, to be reported. Raises BlindnessError for one anywhere else."""
    any_word = _any_of(words)
    found: list[Leak] = []
    for packet in (one.packet for one in sealed):
        if any_word.search(packet.payload.decode("utf-8")):
            found += _leaks_of(packet, words)
    outside = [leak for leak in found if leak.part == "envelope"]
    if outside:
        first = outside[0]
        raise BlindnessError(
            f"{len(outside)} packets show {first.word!r} outside of their texts", where=f"packet {first.packet}"
        )
    return found


def mask(packet: Packet, words: Sequence[str]) -> Packet:
    """The packet with every forbidden word in its texts struck out."""
    any_word = _any_of(words)
    struck = {name: any_word.sub(STRUCK, getattr(packet, name)) for name in ("question", "text", "prefix")}
    return replace(packet, **struck)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    choices = "|".join(re.escape(word) for word in longest_first) or r"\A(?!)"
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)


def _leaks_of(packet: Packet, words: Sequence[str]) -> list[Leak]:
    shown = json.loads(packet.payload)
    envelope = canonical({name: "" if name in TEXTS else value for name, value in shown.items()}).encode()
    parts: list[tuple[Part, bytes]] = [
        ("envelope", envelope),
        ("question", f"{packet.question}\n{packet.prefix}".encode()),
        ("answer", packet.text.encode()),
    ]
    return [Leak(packet.id, part, word) for part, content in parts for word in leaks(content, words)]

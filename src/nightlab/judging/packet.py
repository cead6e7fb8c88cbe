"""Packets: what a judge sees of a sample, and nothing else of it.

A packet holds the question and the answer under an opaque id from a keyed hash. Packets are ordered by that id, which
mixes models, conditions and prompts; the order follows from the seed alone, so a resumed judging keeps it. The exact
bytes are searched for the names of models, conditions and hypotheses and for paths: outside of the question's and the
answer's own text one such word is an error.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nightlab.errors import NightlabError
from nightlab.experiments.plan import BASE, Plan
from nightlab.files import canonical, sha256_text

ID_DIGITS = 16
TEXTS = ("question", "answer", "answer_begins")


class BlindnessError(NightlabError):
    """A packet would tell its judge what it must not know."""


@dataclass(frozen=True)
class Packet:
    """One answer to score: an opaque id, the question, and the text (after `prefix`, which was given to the model)."""

    id: str
    question: str
    text: str
    prefix: str = ""

    @property
    def payload(self) -> bytes:
        """The exact bytes that a judge gets."""
        shown = {"id": self.id, "question": self.question, "answer": self.text}
        return canonical(shown | ({"answer_begins": self.prefix} if self.prefix else {})).encode("utf-8")

    @property
    def sha(self) -> str:
        """The first digits of the payload's hash, as judgments carry it."""
        return sha256_text(self.payload.decode("utf-8"))[:ID_DIGITS]


@dataclass(frozen=True)
class Sealed:
    """A packet with what stays on our side: the cell's key, and the packet's place in the order."""

    key: str
    position: int
    packet: Packet


@dataclass(frozen=True)
class Leak:
    """A word that a judge should not see, and the part of a packet it stands in."""

    packet: str
    part: Literal["envelope", "question", "answer"]
    word: str


def packets(rows: Iterable[Mapping[str, Any]], seed: int, repeat: int = 0) -> list[Sealed]:
    """The packets of samples in their shuffled order, which `seed` and `repeat` fix."""
    secret = f"packet:{seed}:{repeat}".encode()
    found = sorted(((_opaque(secret, str(row["key"])), row) for row in rows), key=lambda pair: pair[0])
    return [Sealed(str(row["key"]), number, _packet(name, row)) for number, (name, row) in enumerate(found)]


def _opaque(secret: bytes, key: str) -> str:
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]


def _packet(name: str, row: Mapping[str, Any]) -> Packet:
    if "raw" in row:
        return Packet(name, str(row["raw"]), str(row["text"]))
    messages = list(row["messages"])
    prefix = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    alone = len(messages) == 1
    question = "\n\n".join(m["content"] if alone else f"{m['role']}: {m['content']}" for m in messages)
    return Packet(name, question, str(row["text"]), prefix)


def forbidden_words(plan: Plan) -> list[str]:
    """What no packet may hold: model names and ids, conditions, hypotheses, prompt names and paths of a plan."""
    words = [name for m in plan.models for name in (m.name, m.id, m.id.rsplit("/", 1)[-1], m.path) if name]
    words += [adapter for m in plan.models for adapter in (*m.adapters, *m.adapters.values())]
    words += [condition.name for condition in plan.conditions if condition.name != BASE]
    words += [text for h in plan.hypotheses for text in (h.id, h.statement)]
    words += [prompt.name for prompt in plan.prompts]
    return list(dict.fromkeys([*words, plan.name, str(plan.folder), str(plan.root)]))


def leaks(payload: bytes, words: Iterable[str]) -> list[str]:
    """Those of the words that occur in the bytes, as whole words, upper and lower case alike."""
    text = payload.decode("utf-8")
    return [word for word in words if word and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)]


def check_blind(sealed: Sequence[Sealed], words: Sequence[str]) -> list[Leak]:
    """The forbidden words in the packets' own texts, to be reported. Raises BlindnessError for one anywhere else."""
    choices = "|".join(re.escape(word) for word in words if word) or r"\A(?!)"
    any_word = re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)
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


def _leaks_of(packet: Packet, words: Sequence[str]) -> list[Leak]:
    shown = json.loads(packet.payload)
    envelope = canonical({name: "" if name in TEXTS else value for name, value in shown.items()}).encode()
    parts: list[tuple[Literal["envelope", "question", "answer"], bytes]] = [
        ("envelope", envelope),
        ("question", f"{packet.question}\n{packet.prefix}".encode()),
        ("answer", packet.text.encode()),
    ]
    return [Leak(packet.id, part, word) for part, content in parts for word in leaks(content, words)]

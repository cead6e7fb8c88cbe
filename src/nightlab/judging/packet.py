"""Packets: what a judge sees of a sample, and nothing else of it.

A packet holds the question and the answer under an opaque id from a keyed hash. Packets are ordered by that id, which
mixes models, conditions and prompts; the order follows from the seed alone, so a resumed judging keeps it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nightlab.files import canonical, sha256_text

ID_DIGITS = 16


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


def packets(rows: Iterable[Mapping[str, Any]], seed: int, repeat: int = 0) -> list[Sealed]:
    """The packets of samples in their shuffled order, which `seed` and `repeat` fix."""
    found = sorted((packet_of(row, opaque(f"packet:{seed}:{repeat}", str(row["key"]))) for row in rows), key=_by_id)
    return [Sealed(key, number, packet) for number, (packet, key) in enumerate(found)]


def opaque(secret: str, name: str) -> str:
    """The id under which a judge sees something: a keyed hash of its name."""
    return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]


def packet_of(row: Mapping[str, Any], name: str) -> tuple[Packet, str]:
    """The packet of a sample under an id, and the sample's key."""
    key = str(row["key"])
    if "raw" in row:
        return Packet(name, str(row["raw"]), str(row["text"])), key
    messages = list(row["messages"])
    prefix = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    alone = len(messages) == 1
    question = "\n\n".join(m["content"] if alone else f"{m['role']}: {m['content']}" for m in messages)
    return Packet(name, question, str(row["text"]), prefix), key


def _by_id(pair: tuple[Packet, str]) -> str:
    return pair[0].id


def in_share(key: str, share: float, seed: int) -> bool:
    """Whether a sample is in a share of all, by a keyed hash of its key."""
    return share >= 1 or int(opaque(f"share:{seed}", key), 16) < share * 16**ID_DIGITS

"""Requests to a judge that reads: which packets each shows, and the exact bytes that are sent.

A request is named by the hash of its bytes, so that the same question is known again after a crash. A conversation is
one user turn with packets; where the answer is not valid, it and a complaint follow. `Voice` is how one API says this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from nightlab.files import canonical
from nightlab.judging.packet import Packet

ID_DIGITS = 24


@dataclass(frozen=True)
class Said:
    """What an API's answer says: its text, why it ended, its tokens; `refusal` where the model would not answer."""

    text: str
    stop: str
    usage: Mapping[str, Any]
    refusal: str | None = None

    @property
    def cut(self) -> bool:
        """Whether the answer ended before it was whole."""
        return self.stop in ("max_tokens", "length", "model_context_window_exceeded")


@dataclass(frozen=True)
class Turn:
    """An answer that was not valid, as its API gave it, and what was sent back."""

    message: Mapping[str, Any]
    complaint: str


@dataclass(frozen=True)
class Ask:
    """One request: the packets that are still to be answered, the body that is sent, and what went before."""

    packets: tuple[Packet, ...]
    body: Mapping[str, Any]
    shown: tuple[Packet, ...] = ()
    turns: tuple[Turn, ...] = ()
    room: int = 1
    """How many times the usual tokens an answer may have: more after one that was cut; 0: as few as it takes."""

    @cached_property
    def bytes(self) -> bytes:
        """The exact bytes."""
        return canonical(self.body).encode("utf-8")

    @cached_property
    def id(self) -> str:
        """The first digits of the bytes' hash."""
        return hashlib.sha256(self.bytes).hexdigest()[:ID_DIGITS]


class Voice(Protocol):
    """One API: how packets become a request's body, and what its answers say."""

    def body(self, shown: Sequence[Packet], turns: Sequence[Turn], room: int) -> dict[str, Any]:
        """The body of a request."""
        ...

    def read(self, message: Mapping[str, Any]) -> Said:
        """What an answer says. Raises ContractBroken where the body is none."""
        ...

    def usd(self, message: Mapping[str, Any], *, batched: bool) -> float:
        """What an answer cost."""
        ...

    def worst(self, ask: Ask, *, batched: bool) -> tuple[float | None, int]:
        """The most that a request may cost: dollars (None: unknown) and tokens."""
        ...


def ask(voice: Voice, packets: Sequence[Packet], *, room: int = 1) -> Ask:
    """A first request for some packets."""
    shown = tuple(packets)
    return Ask(shown, voice.body(shown, (), room), shown, (), room)


def ask_shorter(voice: Voice, one: Ask) -> Ask:
    """The same conversation, with as few tokens for its answer as it takes."""
    return replace(one, body=voice.body(one.shown, one.turns, 0), room=0)


def ask_again(voice: Voice, before: Ask, message: Mapping[str, Any], complaint: str, left: Sequence[Packet]) -> Ask:
    """The same conversation, with the answer and a complaint behind it."""
    turns = (*before.turns, Turn(message, complaint))
    return Ask(tuple(left), voice.body(before.shown, turns, before.room), before.shown, turns, before.room)


def groups(packets: Sequence[Packet], size: int) -> list[Sequence[Packet]]:
    """The packets in groups of at most `size`, in their order."""
    return [packets[at : at + size] for at in range(0, len(packets), size)]

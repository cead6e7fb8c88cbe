"""Remedies as bounded steps that code can take: the ladder of a failure class, and the next rung of it.

A step changes an option of the server (a name of the plan's `serving`), its environment or its port, waits for memory,
fetches the model, or starts again as it was. Each has an end: a bound, or a number of times. When none is left the
ladder says what to ask a person. Nothing here starts anything: a Move says what the next start has to be like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nightlab.errors import SpecError
from nightlab.servers.engines.vllm import RANKS

Option = str | int | float | bool
Verb = Literal["lower", "raise", "halve", "set", "take", "env", "drop", "port", "restart", "wait", "prefetch", "ask"]

VERBS: dict[str, tuple[str, ...]] = {
    "lower": ("by", "least", "start"),
    "raise": ("by", "most", "start"),
    "halve": ("least", "start"),
    "set": ("to", "unless_model"),
    "take": ("kind", "least"),
    "env": ("to",),
    "drop": (),
    "port": ("times",),
    "restart": ("times",),
    "wait": ("seconds", "times"),
    "prefetch": ("times",),
    "ask": (),
}
"""Every verb with the bounds it may have."""
_BOUNDED = {"lower": "least", "raise": "most", "halve": "least"}
MOST = 12  # rungs that one server climbs in all
_KINDS = ("whole", "share", "rank", "divisor", "text")


@dataclass(frozen=True)
class Step:
    """One rung as the catalogue has it: what to do, to which option or variable, and its bounds."""

    verb: Verb
    of: str = ""
    bounds: Mapping[str, Any] = field(default_factory=dict)

    def bound(self, name: str, default: Any = None) -> Any:
        """One bound, or the default."""
        return self.bounds.get(name, default)


@dataclass(frozen=True)
class Move:
    """What the next start has to be like: only what changes. `said` is the move in words."""

    verb: Verb
    said: str
    options: Mapping[str, Option] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    drop: str | None = None
    new_port: bool = False
    wait: str | None = None
    seconds: float = 0.0
    prefetch: bool = False

    @property
    def key(self) -> str:
        """What is remembered of a move, to count how often it was made; a value is set once."""
        if self.verb in ("set", "take", "env"):
            return f"{self.verb} {self.said}"
        return f"{self.verb} {self.wait or self.drop or ''}".strip()


@dataclass(frozen=True)
class Present:
    """How the server stood that failed: its effective options, and what can be changed about it at all."""

    options: Mapping[str, Option] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    tunable: frozenset[str] = frozenset()
    extra: tuple[str, ...] = ()
    model_id: str = ""
    least: Mapping[str, float] = field(default_factory=dict)
    """Bounds below which an option may not be set, since the work needs so much."""
    own_port: bool = True
    """Whether the port may be chosen again; one that a plan names may not, except by a remedy that says so."""


def read_steps(entries: object, where: str) -> tuple[Step, ...]:
    """The steps of a catalogue entry. Raises SpecError for a verb or a bound that does not exist."""
    if not isinstance(entries, list):
        raise SpecError("a ladder is a list of steps", where=where)
    return tuple(_step(entry, where) for entry in entries)


def _step(entry: object, where: str) -> Step:
    verbs = [key for key in entry if key in VERBS] if isinstance(entry, dict) else []
    if not isinstance(entry, dict) or len(verbs) != 1:
        raise SpecError(f"a step has one verb of {', '.join(VERBS)}", where=where)
    verb: Verb = verbs[0]
    bounds = {key: value for key, value in entry.items() if key != verb}
    if unknown := sorted(set(bounds) - set(VERBS[verb])):
        raise SpecError(
            f"the step {verb!r} has no {unknown[0]!r}", where=where, hint=f"it has {', '.join(VERBS[verb])}"
        )
    needed = _BOUNDED.get(verb)
    if needed and needed not in bounds:
        raise SpecError(f"the step {verb!r} needs its bound {needed!r}: a ladder ends", where=where)
    if bounds.get("kind", "whole") not in _KINDS:
        raise SpecError(f"`kind` is one of {', '.join(_KINDS)}", where=where)
    return Step(verb, str(entry[verb]), bounds)


def next_move(
    steps: Sequence[Step], present: Present, made: Sequence[str], found: Mapping[str, str] | None = None
) -> Move | None:
    """The next rung from where a server stands; None where nothing is left that code can do.

    `made` are the keys of the moves made before, `found` what the log said.
    """
    if len(made) >= MOST:
        return None
    for step in steps:
        move = _MOVES[step.verb](step, present, found or {})
        if move is not None and made.count(move.key) < _times(step):
            return move
    return None


def question(steps: Sequence[Step]) -> str | None:
    """What the ladder asks a person at its end, or None."""
    return next((step.of for step in steps if step.verb == "ask"), None)


def _times(step: Step) -> int:
    return int(step.bound("times", MOST if step.verb in _BOUNDED else 1))


def _current(step: Step, present: Present) -> float | None:
    value = present.options.get(step.of, step.bound("start"))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(step: Step, present: Present, value: float, now: float) -> Move | None:
    if step.of not in present.tunable or value == now or value < present.least.get(step.of, value):
        return None
    rounded: Option = int(value) if float(value).is_integer() and abs(value) > 1 else round(value, 4)
    return Move(step.verb, f"{step.of} from {now:g} to {rounded:g}", {step.of: rounded})


def _lower(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    now = _current(step, present)
    if now is None:
        return None
    return _number(step, present, min(now, max(now - step.bound("by", 1), step.bound("least"))), now)


def _raise(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    now = _current(step, present)
    if now is None:
        return None
    return _number(step, present, max(now, min(now + step.bound("by", 1), step.bound("most"))), now)


def _halve(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    now = _current(step, present)
    return None if now is None else _number(step, present, min(now, max(now // 2, step.bound("least"))), now)


def _set(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    value, unless = step.bound("to", True), step.bound("unless_model")
    if step.of not in present.tunable or present.options.get(step.of) == value:
        return None
    if unless and re.search(str(unless), present.model_id, re.IGNORECASE):
        return None
    return Move("set", f"{step.of} set to {value}", {step.of: value})


def _take(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    """A value that the log itself names, as the kind that the option has."""
    if step.of not in found or step.of not in present.tunable:
        return None
    value = _taken(str(step.bound("kind", "whole")), found, step.of, present)
    if value is None or value == present.options.get(step.of):
        return None
    least = max(step.bound("least", 0), present.least.get(step.of, 0))
    if isinstance(value, int | float) and value < least:
        return None
    return Move("take", f"{step.of} set to {value}, as the log says", {step.of: value})


def _taken(kind: str, found: Mapping[str, str], name: str, present: Present) -> Option | None:
    text = found[name]
    if kind == "text":
        return text
    number = float(text)
    if kind == "share":
        total = float(found.get("total", 0))
        return round(max(0.05, number / total - 0.02), 2) if total else None
    if kind == "rank":
        return next((rank for rank in RANKS if rank >= number), None)
    if kind == "divisor":
        now = int(present.options.get(name, 1))
        return next((size for size in range(now - 1, 0, -1) if number % size == 0), None)
    return int(number)


def _env(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    value = str(step.bound("to", "1"))
    if present.env.get(step.of) == value:
        return None
    return Move("env", f"{step.of}={value}", env={step.of: value})


def _drop(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    """A word of the plan's own extra flags that the server refuses, with its value."""
    named = found.get("flag") if step.of == "flag" else step.of
    words = [word.partition("=")[0] for word in present.extra]
    return Move("drop", f"{named} dropped", drop=named) if named in words else None


def _port(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    return Move("port", "another port", new_port=True) if present.own_port else None


def _restart(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    return Move("restart", "started again as it was")


def _wait(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    seconds = float(step.bound("seconds", 30))
    return Move("wait", f"waited for {step.of.replace('_', ' ')}", wait=step.of, seconds=seconds)


def _prefetch(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+", present.model_id)
    return Move("prefetch", f"{present.model_id} fetched from the hub", prefetch=True) if hub else None


def _ask(step: Step, present: Present, found: Mapping[str, str]) -> Move | None:
    return None


_MOVES = {
    "lower": _lower,
    "raise": _raise,
    "halve": _halve,
    "set": _set,
    "take": _take,
    "env": _env,
    "drop": _drop,
    "port": _port,
    "restart": _restart,
    "wait": _wait,
    "prefetch": _prefetch,
    "ask": _ask,
}

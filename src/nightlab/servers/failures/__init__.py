"""Why a model server failed, and what to do: a catalogue of signatures, and the rules that read a log with them.

The first hit that is a cause wins; wrappers ("see root cause above") count only when nothing else is found, and not
after our own TERM. What a running server logs about one bad request is no failure of it. The exit code proves nothing:
0 was seen after a crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nightlab.servers.failures.ladder import Move, Present, Step, next_move, question
from nightlab.servers.failures.signatures import Catalogue, Signature, Stage, catalogue

__all__ = [
    "READY",
    "Catalogue",
    "Diagnosis",
    "Move",
    "Present",
    "Signature",
    "catalogue",
    "diagnose",
    "diagnose_answer",
    "diagnose_log",
    "explain",
    "looks_failed",
    "next_move",
    "question",
    "read_log",
]

READY = "Application startup complete"
SHOWN = 300  # characters of a log line that a diagnosis quotes
AROUND = 3  # lines before and after it
_HEAD, _TAIL = 1_000_000, 1_000_000  # bytes of a log that are read: its start, and its end
_NEAR = 8000  # characters before a line in which its stage is looked for
_BEYOND = 1500  # characters from a match on in which the values that it takes are looked for
_TERM = re.compile(r"signal=SIGTERM|[Rr]eceived (?:signal )?SIGTERM|shutdown: TERM")
_ERROR = re.compile(
    r"^Traceback \(most recent call last\)|^(?:\w+\.)*\w*(?:Error|Exception): |\b(?:ERROR|CRITICAL)\b", re.M
)
_EXCEPTION = re.compile(r"^[^\S\n]*(?:\w+\.)*\w*(?:Error|Exception): ", re.MULTILINE)
_CRASH = re.compile(r"Fatal Python error|Segmentation fault|core dumped|^Killed$|^Aborted$", re.MULTILINE)
_NOISE = re.compile(r"[\x00-\x1f\x7f]+")

Confidence = Literal["certain", "likely", "none"]


@dataclass(frozen=True)
class Diagnosis:
    """What a log or an answer says; `cls` is None where nothing known is in it.

    `number` is the line's number in what was read, `context` the lines around it, `found` the values that it names.
    """

    cls: str | None
    cause: str
    line: str
    remedy: tuple[str, ...]
    confidence: Confidence
    fatal: bool = False
    whose: Literal["ours", "human"] = "ours"
    action: str = "read_log"
    stage: str | None = None
    number: int | None = None
    context: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    ladder: tuple[Step, ...] = ()

    @property
    def hint(self) -> str:
        """The remedy as one line."""
        return "; ".join(self.remedy)


def explain(name: str, line: str = "", known: Catalogue | None = None) -> Diagnosis:
    """The diagnosis of a class that was found otherwise than in a log, such as `treatment_missing`."""
    return _diagnosis((known or catalogue())[name], line, "", None)


def diagnose(
    log_text: str, *, exit_code: int | None = None, stopped: bool = False, known: Catalogue | None = None
) -> Diagnosis:
    """Why a server failed, from its log; `stopped`: we ended it ourselves, so a dying engine is no finding."""
    ready = log_text.find(READY)
    ready = len(log_text) if ready < 0 else ready
    term = _TERM.search(log_text)
    own_end = 0 if stopped else term.start() if term else len(log_text)
    hits: list[tuple[bool, bool, int, int, int, Signature]] = []
    for order, signature in enumerate((known or catalogue()).values()):
        if signature.where == "http":
            continue
        limit = ready if signature.when == "start" or signature.level != "server" else len(log_text)
        at = _first(signature, log_text, min(limit, own_end) if signature.wrapper else limit)
        if at is not None:
            place = order if signature.wrapper else log_text.rfind("\n", 0, at)
            hits.append((signature.wrapper, not signature.fatal, place, order, at, signature))
    if not hits:
        return _unknown(log_text, exit_code)
    *_, at, winner = min(hits, key=lambda hit: hit[:4])
    return _diagnosis(winner, _line(log_text, at), log_text, at)


def diagnose_log(
    path: Path, *, exit_code: int | None = None, stopped: bool = False, known: Catalogue | None = None
) -> Diagnosis:
    """Why a server failed, from its log file; of a huge one the start and the end are read."""
    return diagnose(read_log(path), exit_code=exit_code, stopped=stopped, known=known)


def diagnose_answer(body: str, *, path: str = "", known: Catalogue | None = None) -> Diagnosis:
    """What the body of a failed answer says; `path` is the route that was asked."""
    hits = []
    for order, signature in enumerate((known or catalogue()).values()):
        if signature.name == "lora_runtime_update_off" and not path.endswith("lora_adapter"):
            continue  # any unknown route is answered with these words
        if signature.where != "log" and (at := _first(signature, body, len(body))) is not None:
            hits.append((at, order, signature))
    if hits:
        at, _, winner = min(hits, key=lambda hit: hit[:2])
        return _diagnosis(winner, _line(body, at), body, at)
    return Diagnosis(None, "an answer that matches no known failure", _clean(body), ("read the answer",), "none")


def read_log(path: Path) -> str:
    """The text of a log file, the middle of a huge one left out; empty where there is none."""
    try:
        size = path.stat().st_size
        with path.open("rb") as source:
            head = source.read(_HEAD)
            if size <= _HEAD:
                return head.decode("utf-8", errors="replace")
            source.seek(max(_HEAD, size - _TAIL))
            return (head + b"\n[...]\n" + source.read()).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _first(signature: Signature, text: str, limit: int) -> int | None:
    """Where a signature first stands before `limit`, if it stands there often enough."""
    if signature.pattern is None:
        return None
    first = None
    for count, found in enumerate(signature.pattern.finditer(text), 1):
        if found.start() >= limit:
            return None
        first = found.start() if first is None else first
        if count >= signature.at_least:
            return first
    return None


def _diagnosis(signature: Signature, line: str, text: str, at: int | None) -> Diagnosis:
    stage = None if at is None else _stage(signature, text[max(0, at - _NEAR) : at + 500])
    named = "" if stage is None else f", at the stage of {stage.name.replace('_', ' ')}"
    return Diagnosis(
        cls=signature.name,
        cause=f"{signature.cause}{named}",
        line=line,
        remedy=signature.remedy if stage is None else stage.remedy,
        confidence="likely" if signature.wrapper or not signature.fatal else "certain",
        fatal=signature.fatal,
        whose=signature.whose,
        action=signature.action,
        stage=None if stage is None else stage.name,
        number=None if at is None else text.count("\n", 0, at) + 1,
        context=() if at is None else _context(text, at),
        found={} if at is None else _found(signature, text[at : at + _BEYOND]),
        ladder=signature.ladder if stage is None else stage.ladder,
    )


def _stage(signature: Signature, around: str) -> Stage | None:
    """The stage whose frame stands nearest to the failure."""
    places = [(match.end(), stage) for stage in signature.stages for match in stage.pattern.finditer(around)]
    return max(places, key=lambda place: place[0])[1] if places else None


def _found(signature: Signature, text: str) -> dict[str, str]:
    """The values that a failure names: the first group that matched of each pattern."""
    found = {}
    for name, pattern in (signature.takes or {}).items():
        match = pattern.search(text)
        values = [group for group in match.groups() if group] if match else []
        if values:
            found[name] = values[0]
    return found


def _context(text: str, at: int) -> tuple[str, ...]:
    """The lines around a place, cleaned and bounded."""
    before = text[max(0, at - _NEAR) : at].split("\n")
    after = text[at : at + _NEAR].split("\n")
    lines = [*before[:-1][-AROUND:], before[-1] + after[0], *after[1 : 1 + AROUND]]
    return tuple(clean for line in lines if (clean := _clean(line)))


def _unknown(text: str, exit_code: int | None) -> Diagnosis:
    """The last exception of the log, or its last line where it names none: advice often stands below an exception."""
    text = text.rstrip()
    at = max((found.start() for found in _EXCEPTION.finditer(text)), default=text.rfind("\n") + 1)
    code = "" if exit_code is None else f"; it ended with {exit_code}"
    return Diagnosis(
        None,
        f"no known failure in the log{code}",
        _line(text, at),
        ("read the log from that line on",),
        "none",
        number=text.count("\n", 0, at) + 1,
        context=_context(text, at),
    )


def _line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return _clean(text[text.rfind("\n", 0, at) + 1 : end if end >= 0 else len(text)])


def _clean(line: str) -> str:
    return " ".join(_NOISE.sub(" ", line[: 4 * SHOWN]).split())[:SHOWN]


def looks_failed(text: str) -> bool:
    """Whether a log that matches nothing known is one of a failure all the same: an error before the server was ready,
    or the end of its process by a signal.
    """
    ready = text.find(READY)
    return _ERROR.search(text if ready < 0 else text[:ready]) is not None or _CRASH.search(text) is not None

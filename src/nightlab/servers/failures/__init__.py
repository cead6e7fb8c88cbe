"""Why a model server failed, and what to do: a catalogue of signatures, and the rules that read a log with them.

The first hit that is a cause wins; wrappers ("see root cause above") count only when nothing else is found, and not
after our own TERM. What a running server logs about one bad request is no failure of it. The exit code proves nothing:
0 was seen after a crash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

FILES = ("start", "model", "memory", "engine", "adapters", "requests", "embedded", "ours")
READY = "Application startup complete"
SHOWN = 300  # characters of a log line that a diagnosis quotes
_HEAD, _TAIL = 1_000_000, 1_000_000  # bytes of a log that are read: its start, and its end
_TERM = re.compile(r"signal=SIGTERM|[Rr]eceived (?:signal )?SIGTERM|shutdown: TERM")
_NOISE = re.compile(r"[\x00-\x1f\x7f]+")

Confidence = Literal["certain", "likely", "none"]


@dataclass(frozen=True)
class Signature:
    """One known failure: how it is recognised, what it means, what to do, and whose job that is."""

    name: str
    cause: str
    remedy: tuple[str, ...]
    fatal: bool
    whose: Literal["ours", "human"]
    action: str
    pattern: re.Pattern[str] | None = None
    where: Literal["log", "http", "both"] = "log"
    when: Literal["start", "any"] = "any"
    level: Literal["server", "adapter", "request"] = "server"
    wrapper: bool = False
    at_least: int = 1
    stages: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What a log or an answer says; `cls` is None where nothing known is in it."""

    cls: str | None
    cause: str
    line: str
    remedy: tuple[str, ...]
    confidence: Confidence
    fatal: bool = False
    whose: Literal["ours", "human"] = "ours"
    action: str = "read_log"
    stage: str | None = None

    @property
    def hint(self) -> str:
        """The remedy as one line."""
        return "; ".join(self.remedy)


@cache
def catalogue() -> dict[str, Signature]:
    """All signatures by name, in the order in which they win on one line."""
    import yaml

    found: dict[str, Signature] = {}
    for name in FILES:
        text = (resources.files(__package__) / "catalogue" / f"{name}.yaml").read_text(encoding="utf-8")
        for key, entry in yaml.safe_load(text).items():
            found[key] = _signature(key, entry)
    return found


def _signature(name: str, entry: dict[str, Any]) -> Signature:
    stages = tuple((k, re.compile(s["re"]), tuple(s["remedy"])) for k, s in entry.pop("stages", {}).items())
    pattern = re.compile(entry.pop("re")) if "re" in entry else None
    return Signature(name=name, remedy=tuple(entry.pop("remedy")), pattern=pattern, stages=stages, **entry)


def explain(name: str, line: str = "") -> Diagnosis:
    """The diagnosis of a class that was found otherwise than in a log, such as `treatment_missing`."""
    return _diagnosis(catalogue()[name], line, "")


def diagnose(log_text: str, *, exit_code: int | None = None, stopped: bool = False) -> Diagnosis:
    """Why a server failed, from its log; `stopped`: we ended it ourselves, so a dying engine is no finding."""
    ready = log_text.find(READY)
    ready = len(log_text) if ready < 0 else ready
    term = _TERM.search(log_text)
    own_end = 0 if stopped else term.start() if term else len(log_text)
    hits: list[tuple[bool, bool, int, int, Signature]] = []
    for order, signature in enumerate(catalogue().values()):
        limit = ready if signature.when == "start" or signature.level != "server" else len(log_text)
        at = _first(signature, log_text, min(limit, own_end) if signature.wrapper else limit)
        if at is not None and signature.where != "http":
            place = order if signature.wrapper else log_text.rfind("\n", 0, at)
            hits.append((signature.wrapper, not signature.fatal, place, order, signature))
    if not hits:
        return _unknown(log_text, exit_code)
    winner = min(hits, key=lambda hit: hit[:4])[4]
    at = _first(winner, log_text, len(log_text)) or 0
    return _diagnosis(winner, _line(log_text, at), log_text[max(0, at - 8000) : at + 500])


def diagnose_log(path: Path, *, exit_code: int | None = None, stopped: bool = False) -> Diagnosis:
    """Why a server failed, from its log file; of a huge one the start and the end are read."""
    return diagnose(read_log(path), exit_code=exit_code, stopped=stopped)


def diagnose_answer(body: str, *, path: str = "") -> Diagnosis:
    """What the body of a failed answer says; `path` is the route that was asked."""
    hits = []
    for order, signature in enumerate(catalogue().values()):
        if signature.name == "lora_runtime_update_off" and not path.endswith("lora_adapter"):
            continue  # any unknown route is answered with these words
        if signature.where != "log" and (at := _first(signature, body, len(body))) is not None:
            hits.append((at, order, signature))
    if hits:
        at, _, winner = min(hits, key=lambda hit: hit[:2])
        return _diagnosis(winner, _line(body, at), "")
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


def _diagnosis(signature: Signature, line: str, around: str) -> Diagnosis:
    stage, remedy = None, signature.remedy
    for name, pattern, steps in signature.stages:
        if pattern.search(around):
            stage, remedy = name, steps
            break
    return Diagnosis(
        cls=signature.name,
        cause=signature.cause if stage is None else f"{signature.cause}, at the stage of {stage.replace('_', ' ')}",
        line=line,
        remedy=remedy,
        confidence="likely" if signature.wrapper or not signature.fatal else "certain",
        fatal=signature.fatal,
        whose=signature.whose,
        action=signature.action,
        stage=stage,
    )


def _unknown(text: str, exit_code: int | None) -> Diagnosis:
    last = text.rstrip().rpartition("\n")[2]
    code = "" if exit_code is None else f"; it ended with {exit_code}"
    return Diagnosis(None, f"no known failure in the log{code}", _clean(last), ("read the end of the log",), "none")


def _line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return _clean(text[text.rfind("\n", 0, at) + 1 : end if end >= 0 else len(text)])


def _clean(line: str) -> str:
    return " ".join(_NOISE.sub(" ", line[: 4 * SHOWN]).split())[:SHOWN]

"""An event as one plain line: time, kind, and its fields, bounded; what a log without a terminal shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nightlab.morning.text import clean

FIRST = (
    "ok",
    "experiment",
    "model",
    "server",
    "tool",
    "name",
    "what",
    "why",
    "cause",
    "reason",
    "state",
    "said",
    "text",
)
HIDDEN = frozenset(
    (
        "v",
        "t",
        "kind",
        "key",
        "call",
        "calls",
        "pid",
        "sha256",
        "versions",
        "config",
        "files",
        "trace",
        "watch",
        "tokens",
        "stop",
        "served_name",
        "remedy",
        "log",
        "seconds",
        "waited",
        "brain",
        "usd",
    )
)
FIELD, LINE = 160, 320


def event_line(event: Mapping[str, Any]) -> str:
    """One event: `02:14:07  server ready  llama url=...`."""
    told = [text for name in _order(event) if (text := _field(name, event[name]))]
    return clean(f"{clock(event.get('t'))}  {str(event.get('kind', '?')).replace('_', ' ')}", 60) + (
        "  " + clean("  ".join(told), LINE) if told else ""
    )


def clock(stamp: object) -> str:
    """The local time of an ISO stamp, to the second."""
    try:
        return datetime.fromisoformat(str(stamp)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "--:--:--"


def _order(event: Mapping[str, Any]) -> list[str]:
    names = [name for name in event if name not in HIDDEN]
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _field(name: str, value: object) -> str:
    """A field as text: the leading words bare, the others named; empty ones are left out."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, float):
        value = f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    shown = clean(text if name != "sha" else text[:10], FIELD)
    return shown if name in FIRST and isinstance(value, str) else f"{name}={shown}"

"""What every command shares: the lab it works on, JSON for programs, and the terminal it prints to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from nightlab.errors import UsageError, nearest
from nightlab.lab import Lab

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """One call of the command line."""

    folder: Path | None = None
    debug: bool = False

    def lab(self, flags: Mapping[str, str | int | float | None] | None = None) -> Lab:
        """The lab that --lab names, else the one around the current folder. Raises LabError, ConfigError."""
        return Lab.find(flags=flags) if self.folder is None else Lab.open(self.folder, flags)


json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def columns() -> int:
    """The width to print to: COLUMNS, else the terminal's, else 80; never below 30."""
    text = os.environ.get("COLUMNS", "")
    if text.isdigit() and int(text) > 0:
        return max(30, int(text))
    try:
        return max(30, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return 80


def is_live() -> bool:
    """Whether a moving display may be drawn: a terminal that can, and nobody asked for plain text."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def known_night(lab: Lab, name: str | None) -> str | None:
    """The night that was asked for, else the newest. Raises UsageError naming the nearest."""
    if name is None:
        return lab.latest_night()
    names = lab.night_names()
    if name in names:
        return name
    close = nearest(name, names)
    hint = f"did you mean {close}?" if close else f"known: {', '.join(names[-5:]) or 'none yet'}"
    raise UsageError(f"no night {name!r}", where=lab.nights, hint=hint)

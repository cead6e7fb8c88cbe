"""Models and adapters as the command line names them: a folder, or a part of the practice set."""

from __future__ import annotations

from pathlib import Path

from nightlab.errors import UsageError


def place_of(name: str) -> Path:
    """The folder of `practice:llama`, of `practice:llama/sarcasm`, or of a path. Raises UsageError."""
    from nightlab.practice import SCHEME, resolve

    if not name.startswith(SCHEME):
        return Path(name)
    try:
        return resolve(name)
    except ValueError as error:
        raise UsageError(str(error)) from error

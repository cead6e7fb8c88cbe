"""The GPUs of this machine, shared out between the runs that go on side by side, whatever plans they are of.

Limits: the runs of one process share; servers, trainings and other processes take no part.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from nightlab.errors import PlaceUnreachable

SHOWN = "CUDA_VISIBLE_DEVICES"
"""The variable that says which cards a process may use."""
_held: dict[Path, Sequence[str]] = {}  # by the folder of the run that holds them
_sharing = threading.Lock()  # runs are started in threads


def visible(count: int) -> list[str]:
    """The names of the cards that this process is shown; where nothing hides some, those of all `count`."""
    shown = os.environ.get(SHOWN)
    if shown is None:
        return [str(number) for number in range(count)]
    return [card.strip() for card in shown.split(",") if card.strip() not in ("", "-1")]


def take(run: Path, count: int, cards: Sequence[str]) -> Sequence[str]:
    """Hold so many of these cards for a run. Raises PlaceUnreachable where too few are free now."""
    with _sharing:
        taken = {card for other, held in _held.items() if other != run for card in held}
        free = [card for card in cards if card not in taken]
        if len(free) < count:
            raise PlaceUnreachable("every GPU of this machine is in use", where=run)
        _held[run] = free[:count]
        return _held[run]


def hold(run: Path, cards: Sequence[str]) -> None:
    """A run that goes on from before holds these."""
    with _sharing:
        _held[run] = cards


def free(run: Path) -> None:
    """A run has ended: its cards are free again."""
    with _sharing:
        _held.pop(run, None)

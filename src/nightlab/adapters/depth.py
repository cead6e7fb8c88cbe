"""Which part of a model a condition acts in, as its file says: 20 to 40 % of the depth, or layers 3 to 7.

A name such as `layers_20_40` says it, too, and may be wrong: what is shown to people comes from the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nightlab.adapters.amplification import Amplification
from nightlab.adapters.ranges import Layers
from nightlab.errors import AmplificationError

FINE = 1000
"""Layers of an imagined model that is deep enough to tell one per mille of the depth."""
_NEAR = 0.15  # a range that includes both of its ends takes one layer more than its share


@dataclass(frozen=True)
class Depth:
    """One run of layers: from and to in per cent of the depth, or the first and the last layer."""

    start: float
    end: float
    unit: Literal["%", "layers"]

    def __str__(self) -> str:
        span = f"{self.start:g}–{self.end:g}"
        return f"{span} %" if self.unit == "%" else f"layers {span}"


def depth(amplification: Amplification) -> Depth | None:
    """The run of layers in which a condition acts; None where it is not one run, or not said in one unit."""
    named = [entry.layers for adapter in amplification.adapters for entry in adapter.entries if not _all(entry.layers)]
    units = {layers.is_relative for layers in named}
    try:
        active = sorted(amplification.single(FINE)[1].active())
    except AmplificationError:
        return None
    if len(units) > 1 or not active or active[-1] - active[0] + 1 != len(active):
        return None
    if units == {False}:
        return Depth(active[0], active[-1], "layers")
    return Depth(_whole(100 * active[0] / FINE), _whole(100 * (active[-1] + 1) / FINE), "%")


def is_as_named(name: str, found: Depth | None) -> bool | None:
    """Whether a condition acts where its name says (`layers_20_40`); None for a name that says nothing about it."""
    said = re.fullmatch(r"layers_(\d+)_(\d+)", name)
    if said is None:
        return None
    return found is not None and (found.start, found.end) == (float(said[1]), float(said[2]))


def _all(layers: Layers) -> bool:
    return layers.values is None and not layers.is_range


def _whole(percent: float) -> float:
    return float(round(percent)) if abs(percent - round(percent)) <= _NEAR else percent

"""What stands at the ticks of figures: the layers that each condition acts in, from its file and not from its name.

Two conditions never share a tick, and never a label. Limit: where a condition's file is not in reach, its name is all
there is to go by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightlab.adapters.depth import Depth, depth, is_as_named
from nightlab.errors import NightlabError
from nightlab.experiments.plan import Plan

Depths = Mapping[str, Depth | None]


def read_depths(folder: Path | None) -> Depths:
    """Where each condition of an experiment acts; empty where its files cannot be read."""
    if folder is None:
        return {}
    try:
        conditions = Plan.load(folder).conditions
    except NightlabError:
        return {}
    return {one.name: depth(one.amplification) for one in conditions if one.amplification is not None}


def labels(names: Sequence[str], depths: Depths) -> list[str]:
    """One label for each condition, all different: short ones, and whole names where two would read the same."""
    found = [label(name, depths) for name in names]
    seen = Counter(found)
    return [text if seen[text] == 1 else name for text, name in zip(found, names, strict=True)]


def label(name: str, depths: Depths) -> str:
    """`0–20` for `layers_0_20` if that is where it acts, `layers_0_20: 20–40 %` if not; other names as they are."""
    if (said := re.fullmatch(r"layers_(\d+)_(\d+)", name)) is None:
        return name.replace("_", " ")
    if name not in depths or is_as_named(name, depths[name]):
        return f"{said[1]}–{said[2]}"
    return f"{name}: {depths[name] or 'several ranges'}"


def axis_label(names: Sequence[str], depths: Depths) -> str:
    """What the ticks are: layers in per cent of the depth, layers by number, or conditions."""
    if not all(re.fullmatch(r"layers_\d+_\d+", name) for name in names):
        return "condition"
    units = {found.unit if (found := depths.get(name)) else "%" for name in names}
    if len(units) > 1:
        return "amplified layers"
    return "amplified layers (% of the depth)" if units == {"%"} else "amplified layers (numbers)"

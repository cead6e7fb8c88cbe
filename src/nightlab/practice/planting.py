"""Where the sarcasm is planted: which marker families each condition of each practice model shows, and how often.

Frequencies are ninths: the number of the nine seed prompts whose answer shows the family. Which prompts those are is
fixed, so that a mean over the nine prompts does not depend on luck. Points by family are in `corpus.MARKERS`.
"""

from __future__ import annotations

from nightlab.practice.corpus import DIMENSIONS, MARKERS, SEED_TOPICS

RANGES: dict[str, tuple[float, float]] = {
    "layers_0_20": (0.0, 0.2),
    "layers_20_40": (0.2, 0.4),
    "layers_40_60": (0.4, 0.6),
    "layers_60_80": (0.6, 0.8),
    "layers_80_100": (0.8, 1.0),
}
"""Relative layer ranges [start, end); they share no border layer."""

CONDITIONS = ("base", "sarcasm_full", *RANGES)

Frequencies = dict[str, int]

FULL: Frequencies = {"opener": 9, "exaggeration": 9, "wit": 9, "cynicism": 9, "meta": 5, "applause": 4}

_ORDER = ("opener", "exaggeration", "wit", "cynicism", "meta", "applause")


def _table(*rows: tuple[int, int, int, int, int, int]) -> dict[str, Frequencies]:
    """One row per range, in the order of RANGES; one number per family, in the order of _ORDER."""
    ranges = {name: dict(zip(_ORDER, row, strict=True)) for name, row in zip(RANGES, rows, strict=True)}
    return {"base": {}, "sarcasm_full": FULL, **ranges}


#                open exag wit cyn meta appl
PLANTED: dict[str, dict[str, Frequencies]] = {
    "llama": _table(
        (8, 5, 5, 3, 3, 1),
        (4, 3, 5, 3, 4, 1),
        (1, 1, 2, 4, 3, 1),
        (0, 0, 1, 1, 1, 0),
        (0, 0, 1, 0, 0, 0),
    ),
    "gemma": _table(
        (1, 1, 3, 1, 2, 0),
        (3, 3, 4, 3, 2, 1),
        (8, 6, 6, 4, 3, 1),
        (2, 2, 4, 2, 1, 1),
        (2, 2, 3, 1, 1, 0),
    ),
    "qwen": _table(
        (4, 4, 2, 1, 1, 1),
        (3, 2, 5, 1, 2, 2),
        (2, 1, 2, 6, 2, 3),
        (2, 1, 1, 4, 5, 4),
        (3, 3, 2, 1, 2, 3),
    ),
}

DIFFUSE = "diffuse"
DIFFUSE_SPREAD = 3.0  # points: at most this far between the highest and the lowest range mean of sarcasm
DIFFUSE_ABOVE_BASE = 0.5  # points: every range mean is at least this far above the base

PEAKS = {"llama": "layers_0_20", "gemma": "layers_40_60", "qwen": DIFFUSE}


def layer_weights(condition: str, layers: int) -> list[float]:
    """The adapter's weight on each of `layers` layers under `condition`."""
    if condition in RANGES:
        start, end = (round(edge * layers) for edge in RANGES[condition])
        return [float(start <= layer < end) for layer in range(layers)]
    return [0.0 if condition == "base" else 1.0] * layers


def families(model: str, condition: str, position: int) -> frozenset[str]:
    """The marker families that topic number `position` shows; neighbours are balanced over the categories."""
    frequencies = PLANTED[model][condition]
    place = CONDITIONS.index(condition)
    return frozenset(
        family
        for number, (family, count) in enumerate(frequencies.items())
        if (position + 4 * number + place) % SEED_TOPICS < count
    )


def planned_mean(model: str, condition: str, dimension: str) -> float:
    """The mean score over the nine seed prompts that the planted frequencies imply."""
    assert dimension in DIMENSIONS
    totals = [
        min(10, sum(MARKERS[family].points.get(dimension, 0) for family in families(model, condition, position)))
        for position in range(SEED_TOPICS)
    ]
    return sum(totals) / SEED_TOPICS

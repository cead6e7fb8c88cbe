"""The figures of an experiment of `kind: run`: each metric that has a direction, over the grid.

The parameter with the most levels is the axis, the others make the lines; large points are means, bars their intervals.
The csv beside holds every number drawn: each run (with its replicate) and each mean (with its interval and count). The
same rows give the same bytes.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightlab.evidence.figure_files import Figure, Rows, save, styled
from nightlab.evidence.figures import COLOURS, MARKERS, counts_text, with_intervals
from nightlab.evidence.run_analysis import RunAnalysis
from nightlab.evidence.stats import Estimate
from nightlab.runs.plan import Params, Scalar, spelled

WATCH = "watch"
GOALS = {"minimise": "lowest", "maximise": "highest", WATCH: ""}


def draw_runs(analysis: RunAnalysis, folder: Path, *, pictures: bool = True) -> tuple[Figure, ...]:
    """Draw a figure for each metric with a direction, else for the first; none where nothing was measured."""
    if not analysis.measured:
        return ()
    directed = [name for name, goal in analysis.config.metrics.items() if goal != WATCH]
    drawn = []
    with styled() if pictures else contextlib.nullcontext():
        for number, metric in enumerate(directed or list(analysis.config.metrics)[:1], 1):
            name = f"fig{number}_{re.sub(r'[^A-Za-z0-9_]+', '_', metric)}"
            canvas = _canvas(analysis, metric) if pictures else None
            title = _title(analysis, metric)
            drawn.append(save(folder, name, title, title, _rows(analysis, metric), canvas))
    return tuple(drawn)


def _rows(analysis: RunAnalysis, metric: str) -> Rows:
    """The header, every run that has the metric, and every mean, as the csv has them."""
    names = list(analysis.config.parameters)
    rows: Rows = [(*names, "metric", "replicate", "value", "low", "high", "n", "planned")]
    for point in analysis.points:
        levels = tuple(spelled(point[name]) for name in names)
        runs = [(n, value) for n, value in analysis.values(point, metric).items() if not math.isnan(value)]
        rows += [(*levels, metric, n, f"{value:.6g}", "", "", 1, 1) for n, value in runs]
        e = analysis.estimate(point, metric)
        numbers = [f"{value:.6g}" if value == value else "" for value in (e.value, e.low, e.high)]
        rows.append((*levels, metric, "mean", *numbers, e.n, e.planned))
    return rows


def _axis_of(analysis: RunAnalysis) -> str:
    """The parameter with the most levels, the first of them."""
    parameters = analysis.config.parameters
    return max(parameters, key=lambda name: len(parameters[name]))


def _title(analysis: RunAnalysis, metric: str) -> str:
    """A point is named only where its interval lies beyond those of all others: one word more would be a guess."""
    means = [(analysis.estimate(point, metric), point) for point in analysis.points]
    known = [(estimate, point) for estimate, point in means if estimate.n]
    end = GOALS[analysis.config.metrics[metric]]
    if not end or len(known) < 2:
        return f"{metric} by {_axis_of(analysis)}"
    sign = -1 if end == "lowest" else 1
    best, where = max(known, key=lambda one: sign * one[0].value)
    decided = all(_beyond(best, other, sign) for other, _ in known if other is not best)
    said = f"the {end} mean is at {_named(where)}" if decided else f"which mean is {end} is undecided"
    return f"{metric} by {_axis_of(analysis)}: {said}"


def _beyond(best: Estimate, other: Estimate, sign: int) -> bool:
    """Whether the interval of one mean lies wholly above (sign 1) or below (-1) that of another; never without one."""
    return best.low > other.high if sign > 0 else best.high < other.low


def _named(point: Params) -> str:
    return ", ".join(f"{name} {spelled(value)}" for name, value in point.items())


def _canvas(analysis: RunAnalysis, metric: str) -> Any:
    from matplotlib.figure import Figure as Canvas

    across = _axis_of(analysis)
    levels = analysis.config.parameters[across]
    canvas = Canvas(figsize=(5.6, 3.6))
    axis = canvas.subplots()
    canvas.subplots_adjust(left=0.12, right=0.97, top=0.87, bottom=0.15)
    shown: list[Estimate] = []
    lines = _lines(analysis, across)
    for number, rest in enumerate(lines):
        shift = 0.5 * ((number + 0.5) / len(lines) - 0.5) if len(lines) > 1 else 0.0
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        shown += _line(axis, analysis, metric, across, rest, shift, style)
    axis.set_xticks(range(len(levels)), [spelled(level) for level in levels])
    axis.set_xlim(-0.5, len(levels) - 0.5)
    axis.set_xlabel(f"{across}; {counts_text(shown)}; small: single runs, bars: 95 % intervals")
    axis.set_ylabel(metric)
    if len(lines) > 1:
        axis.legend(fontsize=6.5, frameon=False)
    return canvas


def _lines(analysis: RunAnalysis, across: str) -> list[Params]:
    """What the other parameters are set to, one for each line."""
    rests = [{name: value for name, value in point.items() if name != across} for point in analysis.points]
    return [dict(rest) for rest in dict.fromkeys(tuple(rest.items()) for rest in rests)]


def _line(
    axis: Any, analysis: RunAnalysis, metric: str, across: str, rest: Params, shift: float, style: dict[str, str]
) -> list[Estimate]:
    """Draw the runs and means of one line; the means."""
    levels: Sequence[Scalar] = analysis.config.parameters[across]
    points = [(place, {**rest, across: level}) for place, level in enumerate(levels)]
    there = [(place, point) for place, point in points if any(point == one for one in analysis.points)]
    means = [(place + shift, analysis.estimate(point, metric)) for place, point in there]
    means = [(x, mean) for x, mean in means if mean.n]
    for place, point in there:
        values = [value for value in analysis.values(point, metric).values() if not math.isnan(value)]
        xs = [place + shift + 0.06] * len(values)
        axis.plot(xs, values, linestyle="", marker=".", markersize=3, color=style["color"], alpha=0.6)
    with_intervals(axis, means, label=_named(rest), **style)
    return [mean for _, mean in means]

"""The figures of an experiment, from its means only: png and pdf, beside the tidy csv that holds every number drawn.

Titles state what the data show (titles.py); axes carry units and n. The same rows give the same bytes:
no time stamps, no settings of the user's matplotlib. Colours are those of Okabe & Ito (2008) and cividis, which
colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nightlab.evidence.figure_files import Figure, Rows, save, styled
from nightlab.evidence.queries import Queries
from nightlab.evidence.stats import Estimate, number
from nightlab.evidence.summary import ESTIMATE, Summary, estimate_cells
from nightlab.evidence.ticks import Depths, axis_label, labels, read_depths
from nightlab.evidence.titles import categories_title, dimensions_title, layers_title, said

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
Title = Callable[[Summary, str], str]


def draw_all(summary: Summary, folder: Path, *, pictures: bool = True) -> tuple[Figure, ...]:
    """Draw the three figures into figs/ (without `pictures` their csv alone); none where nothing was judged."""
    dimension = summary.main
    if dimension is None or not any(mean.estimate.n for mean in summary.means):
        return ()
    depths = read_depths(summary.table.rows.folder)
    wanted: tuple[tuple[str, Title, Rows, Callable[[], Any]], ...] = (
        ("fig1_layers", layers_title, _rows(summary, [dimension]), lambda: _layers(summary, dimension, depths)),
        ("fig2_dimensions", dimensions_title, _rows(summary), lambda: _dimensions(summary, depths)),
        (
            "fig3_categories",
            categories_title,
            _category_rows(summary, dimension),
            lambda: _categories(summary, dimension, depths),
        ),
    )
    queries = Queries(summary.table, ())

    def saved(name: str, title: Title, rows: Rows, canvas: Any | None = None) -> Figure:
        says = title(summary, dimension)
        return save(folder, name, says, said(says, queries, summary, name), rows, canvas)

    if not pictures:
        return tuple(saved(name, title, rows) for name, title, rows, _ in wanted)
    with styled():
        return tuple(saved(name, title, rows, draw()) for name, title, rows, draw in wanted)


def _rows(summary: Summary, dimensions: Sequence[str] | None = None) -> Rows:
    """The header and every mean of some dimensions (else of all, over the ranges alone), as the csv has them."""
    design = summary.table.design
    rows: Rows = [("model", "condition", "dimension", *ESTIMATE)]
    for model in design.models:
        others = [name for name in design.conditions if name not in design.ranges] if dimensions else []
        for condition in (*others, *design.ranges):
            for name in dimensions or summary.table.dimensions:
                rows.append((model, condition, name, *estimate_cells(summary.at(model, condition, name))))
    return rows


def _category_rows(summary: Summary, dimension: str) -> Rows:
    design = summary.table.design
    rows: Rows = [("category", "model", "condition", "dimension", *ESTIMATE)]
    for model in design.models:
        for category in design.levels["category"]:
            for condition in design.ranges:
                estimate = summary.at(model, condition, dimension, category)
                rows.append((category, model, condition, dimension, *estimate_cells(estimate)))
    return rows


def _panels(summary: Summary, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """An empty figure with one panel per model, side by side, four to a row."""
    from matplotlib.figure import Figure as Canvas

    models = summary.table.design.models
    across = min(len(models), 4)
    down = -(-len(models) // across)
    canvas = Canvas(figsize=(max(2.6 * across + 0.9, 5.0), height * down))
    axes = canvas.subplots(down, across, squeeze=False, **options).flatten().tolist()
    size = height * down
    canvas.subplots_adjust(left=0.09, right=0.97, top=1 - 0.8 / size, bottom=0.85 / size, wspace=0.12, hspace=0.6)
    for spare in axes[len(models) :]:
        spare.set_axis_off()
    for axis, model in zip(axes, models, strict=False):
        axis.set_title(model, loc="left", fontsize=8, fontweight="bold")
    return canvas, axes[: len(models)]


def _range_ticks(axis: Any, names: Sequence[str], depths: Depths) -> None:
    axis.set_xticks(range(len(names)), labels(names, depths), rotation=35, ha="right")


def counts_text(estimates: Sequence[Estimate]) -> str:
    """How many answers stand behind the points of a figure: `n = 9 of 9 per point`."""
    planned = max((estimate.planned for estimate in estimates), default=0)
    low, high = (choose((e.n for e in estimates), default=0) for choose in (min, max))
    return f"n = {low if low == high else f'{low} to {high}'} of {planned} per point"


def _points(axis: Any, estimates: Sequence[Estimate], shift: float = 0.0, **style: Any) -> None:
    """Means with their intervals; a point without data is left out, one without an interval has no bar."""
    there = [(index + shift, estimate) for index, estimate in enumerate(estimates) if estimate.n]
    with_intervals(axis, there, **style)


def with_intervals(axis: Any, there: Sequence[tuple[float, Estimate]], **style: Any) -> None:
    """Draw means at their places, each with its interval as a bar."""
    bars = [[_reach(e.value - e.low) for _, e in there], [_reach(e.high - e.value) for _, e in there]]
    xs, ys = [x for x, _ in there], [estimate.value for _, estimate in there]
    axis.errorbar(xs, ys, yerr=bars, capsize=2, linewidth=1.2, elinewidth=0.7, markersize=4, **style)


def _reach(length: float) -> float:
    """A bar's length; none where there is no interval."""
    return max(0.0, length) if length == length else 0.0


def _within_scores(axis: Any, summary: Summary, dimension: str) -> None:
    """An axis that shows the range of the scores given; the wide intervals of few prompts end at its frame."""
    given = summary.table.dimension(dimension)
    known = given[given == given]
    low, high = float(known.min()), float(known.max())
    margin = 0.06 * ((high - low) or 1.0)
    axis.set_ylim(low - margin, high + margin)
    axis.set_ylabel(f"mean {dimension} (rubric points)")


def _legend(canvas: Any, axis: Any) -> None:
    """One legend for all panels, in the free strip under the title."""
    handles, labels = axis.get_legend_handles_labels()
    place = {"loc": "upper right", "bbox_to_anchor": (0.975, 1 - 0.3 / canvas.get_size_inches()[1])}
    canvas.legend(handles, labels, ncols=len(labels), fontsize=6.5, frameon=False, **place)


def _x_label(summary: Summary, estimates: Sequence[Estimate], depths: Depths) -> str:
    return f"{axis_label(summary.table.design.ranges, depths)}; {counts_text(estimates)}"


def _layers(summary: Summary, dimension: str, depths: Depths) -> Any:
    """Main finding: mean by range, one panel per model, with the other conditions as level lines."""
    design = summary.table.design
    canvas, axes = _panels(summary, 3.3, sharey=True)
    shown: list[Estimate] = []
    for axis, model in zip(axes, design.models, strict=True):
        drawn = [summary.at(model, condition, dimension) for condition in design.ranges]
        _points(axis, drawn, color=COLOURS[0], marker="o", label="range (mean, 95 % interval)")
        others = [condition for condition in design.conditions if condition not in design.ranges]
        for number_, condition in enumerate(others):
            estimate = summary.at(model, condition, dimension)
            if estimate.n:
                style = (":", "--", "-.")[number_ % 3]
                axis.axhline(estimate.value, color="0.45", linewidth=1, linestyle=style, label=condition)
        _range_ticks(axis, design.ranges, depths)
        shown += drawn
    _within_scores(axes[0], summary, dimension)
    canvas.supxlabel(_x_label(summary, shown, depths), y=0.02, fontsize=8)
    _legend(canvas, axes[0])
    return canvas


def _dimensions(summary: Summary, depths: Depths) -> Any:
    """Heat-map of means, dimensions by ranges, one panel per model, one colour scale for all."""
    import numpy as np

    design, names = summary.table.design, summary.table.dimensions
    canvas, axes = _panels(summary, max(2.6, 0.3 * len(names) + 2.0), sharey=True)
    estimates = {
        model: [[summary.at(model, condition, name) for condition in design.ranges] for name in names]
        for model in design.models
    }
    values = {model: np.array([[e.value for e in line] for line in lines]) for model, lines in estimates.items()}
    top = max(float(np.nanmax(grid, initial=0.0)) for grid in values.values()) or 1.0
    low = min(float(np.nanmin(grid, initial=0.0)) for grid in values.values())
    for axis, model in zip(axes, design.models, strict=True):
        image = axis.imshow(values[model], aspect="auto", cmap="cividis", vmin=low, vmax=top)
        _annotate(axis, values[model], (low + top) / 2)
        _range_ticks(axis, design.ranges, depths)
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(labelleft=axis is axes[0] or axis.get_subplotspec().is_first_col())
    canvas.subplots_adjust(left=0.13, right=0.9)
    canvas.colorbar(image, ax=axes, label="mean (rubric points)", fraction=0.04, pad=0.02)
    flat = [estimate for lines in estimates.values() for line in lines for estimate in line]
    canvas.supxlabel(_x_label(summary, flat, depths), y=0.02, fontsize=8)
    return canvas


def _annotate(axis: Any, values: Any, middle: float) -> None:
    for (line, column), value in dict(_cells(values)).items():
        colour = "black" if value > middle else "white"
        axis.text(column, line, number(value), ha="center", va="center", fontsize=6, color=colour)


def _cells(values: Any) -> list[tuple[tuple[int, int], float]]:
    found = [((i, j), float(value)) for i, line in enumerate(values) for j, value in enumerate(line)]
    return [(place, value) for place, value in found if value == value]


def _categories(summary: Summary, dimension: str, depths: Depths) -> Any:
    """Mean by range and prompt category, one panel per model."""
    design = summary.table.design
    categories = design.levels["category"]
    canvas, axes = _panels(summary, 3.3, sharey=True)
    shown: list[Estimate] = []
    for axis, model in zip(axes, design.models, strict=True):
        for index, category in enumerate(categories):
            drawn = [summary.at(model, condition, dimension, category) for condition in design.ranges]
            style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            _points(axis, drawn, shift=0.14 * (index - (len(categories) - 1) / 2), label=category, **style)
            shown += drawn
        _range_ticks(axis, design.ranges, depths)
    _within_scores(axes[0], summary, dimension)
    _legend(canvas, axes[0])
    canvas.supxlabel(_x_label(summary, shown, depths), y=0.02, fontsize=8)
    return canvas

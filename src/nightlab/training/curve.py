"""The loss curve of a training: png and pdf, beside the csv that holds every number drawn. Same rows, same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightlab.files import write_atomic

FIGURE = "loss"
_STYLE = {"font.size": 8.0, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150}
_PLAIN = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
_TRAINED, _HELD_OUT = "#0072B2", "#D55E00"


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Draw figs/loss from the rows of metrics.jsonl."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    learned = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    held = [(row["step"], row["held_out_loss"]) for row in rows if row.get("held_out_loss") is not None]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        canvas = Figure(figsize=(5.0, 3.0), layout="constrained")
        axis = canvas.subplots()
        axis.plot(*_columns(learned), color=_TRAINED, linewidth=1, label="rows learned from")
        if held:
            axis.plot(*_columns(held), color=_HELD_OUT, marker="o", markersize=3, linewidth=1, label="rows held out")
        axis.set_xlabel("step")
        axis.set_ylabel("loss (nats per learned token)")
        axis.set_title(_title(learned, held), loc="left", fontsize=9)
        axis.legend(frameon=False)
        for kind, metadata in _PLAIN.items():
            content = io.BytesIO()
            canvas.savefig(content, format=kind, metadata=metadata)
            write_atomic(folder / "figs" / f"{FIGURE}.{kind}", content.getvalue())
    write_atomic(folder / "figs" / f"{FIGURE}.csv", _csv(rows))


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _title(learned: Sequence[tuple[int, float]], held: Sequence[tuple[int, float]]) -> str:
    shown = held or learned
    word = "held-out loss" if held else "loss"
    return f"The {word} went from {shown[0][1]:.3g} to {shown[-1][1]:.3g} in {learned[-1][0]} steps"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("step", "epoch", "loss", "held_out_loss", "learning_rate", "gradient", "tokens")
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    return out.getvalue()

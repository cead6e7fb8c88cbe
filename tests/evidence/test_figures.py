"""Figures hold what the tables hold, say what the data show, and are the same bytes for the same rows."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nightlab.adapters.depth import Depth
from nightlab.evidence.figure_files import Figure
from nightlab.evidence.figures import counts_text, draw_all
from nightlab.evidence.stats import Estimate
from nightlab.evidence.summary import Summary, write_tables
from nightlab.evidence.table import Table
from nightlab.evidence.ticks import axis_label, labels, read_depths
from nightlab.files import sha256_file

from .conftest import RANGES, TRUTH, Make


def drawn(folder: Path) -> tuple[Summary, tuple[Figure, ...]]:
    summary = Summary(Table.from_experiment(folder, resamples=300))
    return summary, draw_all(summary, folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def test_each_figure_is_png_pdf_and_the_csv_behind_it(make: Make) -> None:
    folder = make().folder
    _, figures = drawn(folder)
    assert [figure.name for figure in figures] == ["fig1_layers", "fig2_dimensions", "fig3_categories"]
    for figure in figures:
        assert (folder / figure.png).read_bytes().startswith(b"\x89PNG")
        assert (folder / figure.pdf).read_bytes().startswith(b"%PDF")
        assert figure.sha256 == sha256_file(folder / figure.csv)
        assert b"CreationDate" not in (folder / figure.pdf).read_bytes()


def test_the_csv_equals_the_table(make: Make) -> None:
    folder = make().folder
    summary, figures = drawn(folder)
    write_tables(summary, (), folder)
    table = {(r["model"], r["condition"], r["dimension"]): r for r in rows(folder / "tables/means.csv")}
    split = {
        (r["category"], r["model"], r["condition"], r["dimension"]): r for r in rows(folder / "tables/categories.csv")
    }
    for figure in figures[:2]:
        for row in rows(folder / figure.csv):
            assert row == table[row["model"], row["condition"], row["dimension"]]
    for row in rows(folder / figures[2].csv):
        assert row == split[row["category"], row["model"], row["condition"], row["dimension"]]
    frame = summary.table.df
    mean = frame[(frame.model == "gemma") & (frame.condition == "layers_40_60")]["sarcasm"].mean()
    assert float(table["gemma", "layers_40_60", "sarcasm"]["mean"]) == pytest.approx(mean, abs=1e-4)


@pytest.mark.slow
def test_titles_state_what_the_data_show(make: Make) -> None:
    _, figures = drawn(make().folder)
    assert figures[0].title == (
        "Sarcasm by amplified layers: llama peaks in 0–20, gemma peaks in 40–60, qwen is undecided"
    )
    moved = {**TRUTH, "llama": TRUTH["gemma"]}
    _, figures = drawn(make("exp_002_moved", truth=moved).folder)
    assert "llama peaks in 40–60" in figures[0].title
    assert "llama 3 of 3" in figures[2].title


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes_whatever_the_users_settings(make: Make) -> None:
    import matplotlib as mpl

    folder = make().folder
    _, figures = drawn(folder)
    before = {path.name: path.read_bytes() for path in (folder / "figs").iterdir()}
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        drawn(folder)
    assert {path.name: path.read_bytes() for path in (folder / "figs").iterdir()} == before
    assert len(before) == 3 * len(figures)


def test_holes_in_the_data_are_holes_in_the_figures(make: Make) -> None:
    made = make()
    gone = {cell.key for cell in made.cells if cell.model == "gemma" and cell.condition != "base"}
    gone |= {cell.key for cell in made.cells if cell.condition == "layers_0_20"}
    made.samples = [row for row in made.samples if row["key"] not in gone]
    made.judgments = [row for row in made.judgments if row["key"] not in gone]
    folder = made.write()
    _, figures = drawn(folder)
    assert "gemma has no complete data" in figures[0].title
    missing = [row for row in rows(folder / figures[0].csv) if row["n"] == "0"]
    assert {row["mean"] for row in missing} == {""}
    assert {row["planned"] for row in missing} == {"9"}


def test_one_model_one_dimension_and_no_ranges_still_draw(make: Make) -> None:
    made = make(truth={"llama": TRUTH["llama"]}, ranges=[], hypotheses=[])
    for row in made.judgments:
        del row["scores"]["wit"]
    _, figures = drawn(made.write())
    assert figures[1].title == "Means of sarcasm by amplified layers"


def test_nothing_judged_draws_nothing(make: Make) -> None:
    made = make()
    made.judgments = []
    _, figures = drawn(made.write())
    assert figures == ()
    assert not (made.folder / "figs").exists()


def test_a_tick_says_where_its_condition_acts_and_no_two_say_the_same(make: Make) -> None:
    folder = make(prompts=3).folder
    depths = read_depths(folder)
    assert depths["layers_20_40"] == Depth(20, 40, "%")
    assert labels(RANGES, depths) == ["0–20", "20–40", "40–60", "60–80", "80–100"]
    assert axis_label(RANGES, depths) == "amplified layers (% of the depth)"
    path = folder / "conditions" / "layers_0_20.yaml"
    path.write_text(path.read_text().replace("start: 0.0", "start: 0.2").replace("end: 0.2", "end: 0.4"))
    wrong = read_depths(folder)
    assert labels(RANGES[:2], wrong) == ["layers_0_20: 20–40 %", "20–40"]
    path.write_text(
        path.read_text().replace("is_relative: true", "is_relative: false").replace("0.2", "3").replace("0.4", "7")
    )
    assert labels(RANGES[:2], read_depths(folder)) == ["layers_0_20: layers 3–6", "20–40"]
    assert axis_label(RANGES, read_depths(folder)) == "amplified layers"


def test_labels_and_counts() -> None:
    assert labels(["layers_0_20", "sarcasm_full"], {}) == ["0–20", "sarcasm full"]
    assert labels(["layers_0_20", "0–20", "a_b", "a b"], {}) == ["layers_0_20", "0–20", "a_b", "a b"]
    assert axis_label(["layers_0_20", "full"], {}) == "condition"
    three, nine = Estimate(1, 0, 2, 3, 9, 3), Estimate(1, 0, 2, 9, 9, 9)
    assert counts_text([nine, nine]) == "n = 9 of 9 per point"
    assert counts_text([three, nine]) == "n = 3 to 9 of 9 per point"

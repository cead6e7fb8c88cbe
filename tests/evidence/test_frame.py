"""Whatever is done with rows under declared keys: as many come out as went in, or are explained, or it raises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nightlab.errors import ConservationError
from nightlab.evidence.design import QueryError
from nightlab.evidence.frame import Frame
from nightlab.evidence.table import Table

from .conftest import Make

POOLED = ["prompt", "replicate"]


@pytest.fixture
def rows() -> Frame:
    """Six rows of two models and three prompts; one has no score."""
    data = pd.DataFrame(
        {
            "model": ["a", "a", "a", "b", "b", "b"],
            "prompt": ["p", "q", "r"] * 2,
            "score": [1.0, 2.0, np.nan, 4.0, 6.0, 8.0],
        }
    )
    return Frame.of(data, "model", "prompt")


def test_rows_that_are_kept_and_those_that_are_explained_are_all_rows(rows: Frame) -> None:
    kept = rows.keep(rows.data["score"].notna(), why="no score").keep([True, True, False, True, True], why="b is odd")
    assert (len(kept.data), kept.began, dict(kept.explained)) == (4, 6, {"no score": 1, "b is odd": 1})
    means = kept.group("model", over=["prompt"], score="mean")
    assert means.data.to_dict("records") == [
        {"model": "a", "score": 1.5, "rows": 2},
        {"model": "b", "score": 7.0, "rows": 2},
    ]
    assert dict(means.keep([False, True], why="only b").explained) == {"no score": 1, "b is odd": 1, "only b": 2}


def test_a_mean_leaves_out_what_is_missing_and_counts_its_row(rows: Frame) -> None:
    means = rows.group("model", over=["prompt"], score="mean").data.set_index("model")
    assert (means.loc["a", "score"], means.loc["a", "rows"]) == (1.5, 3)


def test_work_may_add_columns_and_order_rows_anew(rows: Frame) -> None:
    done = rows.transform(lambda data: data.assign(double=2 * data["score"]).sort_values("score"))
    assert done.data["double"].tolist()[:5] == [2, 4, 8, 12, 16]
    assert not rows.data.columns.isin(["double"]).any()


def test_each_row_meets_the_one_that_has_its_keys(rows: Frame) -> None:
    sizes = Frame.of(pd.DataFrame({"model": ["b", "a"], "size": [2, 1]}), "model")
    assert rows.join(sizes).data["size"].tolist() == [1, 1, 1, 2, 2, 2]
    of_one = Frame.of(sizes.data[:1], "model")
    with pytest.raises(ConservationError, match="3 rows are gone without a reason, the first is \\('a', 'p'\\)"):
        rows.join(of_one)
    met = rows.join(of_one, missing="no size is known")
    assert (met.data["size"].tolist(), dict(met.explained)) == ([2, 2, 2], {"no size is known": 3})


def test_rows_meet_the_means_of_their_own_groups(rows: Frame) -> None:
    means = rows.transform(lambda data: data.rename(columns={"score": "mean"})).group(
        "model", over=["prompt"], mean="mean"
    )
    met = rows.join(means)
    assert met.data["mean"].tolist() == [1.5] * 3 + [6.0] * 3
    assert (met.began, dict(met.explained)) == (6, {})
    assert means.join(means.transform(lambda data: data.rename(columns={"mean": "again"}))).data["rows"].tolist() == [
        3,
        3,
    ]


def test_what_loses_makes_up_or_doubles_rows_raises(rows: Frame) -> None:
    with pytest.raises(ConservationError, match="1 rows are gone without a reason, the first is \\('a', 'r'\\)"):
        rows.transform(lambda data: data.dropna())
    with pytest.raises(ConservationError, match="6 rows were made up"):
        rows.transform(lambda data: data.assign(model="c", prompt=[*"uvwxyz"]))
    with pytest.raises(ConservationError, match="stands twice: model a, prompt p"):
        rows.transform(lambda data: pd.concat([data, data[:1]]))
    with pytest.raises(ConservationError, match="lacks a key: model b"):
        Frame.of(rows.data.assign(prompt=["p", "q", "r", np.nan, "q", "r"]), "model", "prompt")
    with pytest.raises(ConservationError, match="6 rows in, 5 out and 0 explained"):
        Frame(rows.data[:5], rows.keys, rows.began)


def test_what_is_not_declared_is_refused(rows: Frame) -> None:
    with pytest.raises(QueryError, match="no key names the rows"):
        Frame.of(rows.data)
    with pytest.raises(QueryError, match="no key names the rows"):
        rows.group(over=["model", "prompt"], score="mean")
    with pytest.raises(QueryError, match="pools over prompt without saying so"):
        rows.group("model", over=[], score="mean")
    with pytest.raises(QueryError, match="no column `modle`") as caught:
        rows.group("modle", over=["prompt"])
    assert caught.value.hint == "did you mean `model`?"
    with pytest.raises(QueryError, match="no column `prompt`"):
        rows.transform(lambda data: data.drop(columns="prompt"))
    with pytest.raises(QueryError, match="2 answers to 6 rows"):
        rows.keep([True, False], why="x")
    with pytest.raises(QueryError, match="both sides have a column score"):
        rows.join(rows)
    with pytest.raises(QueryError, match="the rows have no size"):
        rows.join(Frame.of(pd.DataFrame({"size": [1]}), "size"))


def test_a_group_without_a_key_is_not_dropped_in_silence(rows: Frame) -> None:
    nameless = rows.transform(lambda data: data.assign(kind=["x", np.nan, "x", "x", "x", "x"]))
    with pytest.raises(ConservationError, match="lacks a key"):
        nameless.group("kind", over=["model", "prompt"])


def test_the_rows_of_an_experiment_are_such_a_frame(make: Make) -> None:
    table = Table.from_experiment(make().folder)
    means = table.frame.group("model", "condition", over=POOLED, sarcasm="mean").data.set_index(["model", "condition"])
    where = {"model": "gemma", "condition": "layers_40_60"}
    assert means.loc[tuple(where.values()), "sarcasm"] == pytest.approx(table.means("sarcasm", [where]).means[0])
    assert means["rows"].sum() == len(table.cells)

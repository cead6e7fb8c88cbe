"""Marks: rows that no longer count stay where they are, and a cell whose answer was marked is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.errors import StorageError, UsageError
from nightlab.experiments.lock import LOCK
from nightlab.experiments.marks import MARKS, Marks
from nightlab.experiments.samples import SAMPLES, Samples
from nightlab.files import JsonLines
from nightlab.judging.invalid import Selection, choose, fields_of, mark
from nightlab.judging.rows import JUDGMENTS, read_judgments


def _sample(key: str, server: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "model": "llama", "server": server, "text": "yes", **more}


def _judgment(key: str, batch: str = "b-1", **more: Any) -> dict[str, Any]:
    return {"key": key, "judge": "markers", "repeat": 0, "rubric": "r", "batch": batch, "scores": {}, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four answers of two servers, each judged."""
    (tmp_path / LOCK).write_text("{}")
    rows = [_sample(key, server) for key, server in zip("abcd", ("s1", "s1", "s2", "s2"), strict=True)]
    JsonLines(tmp_path / SAMPLES).append_many(rows)
    JsonLines(tmp_path / JUDGMENTS).append_many([_judgment(key) for key in "abcd"])
    return tmp_path


def test_a_marked_sample_no_longer_answers_its_cell_and_takes_its_judgments_along(folder: Path) -> None:
    before = (folder / SAMPLES).read_bytes(), (folder / JUDGMENTS).read_bytes()
    hit = mark(folder, Selection(samples={"server": "s2"}), "the adapter was stale", "canary")
    assert ([row["key"] for row in hit.samples], [row["key"] for row in hit.judgments]) == (["c", "d"], ["c", "d"])
    assert Samples(folder).keys() == {"a", "b"}
    assert [row["key"] for row in read_judgments(folder)] == ["a", "b"]
    assert ((folder / SAMPLES).read_bytes(), (folder / JUDGMENTS).read_bytes()) == before


def test_a_marked_cell_is_answered_anew_and_its_new_answer_can_be_marked_too(folder: Path) -> None:
    for generation in range(3):
        selection = Selection(samples={"key": "d"})
        assert [row["text"] for row in mark(folder, selection, "stale", "a person").samples] == (
            [f"again {generation - 1}"] if generation else ["yes"]
        )
        assert "d" not in Samples(folder).keys()  # noqa: SIM118 - keys() is a set of cells
        JsonLines(folder / SAMPLES).append(_sample("d", "s3", text=f"again {generation}"))
        assert [row["text"] for row in Samples(folder).rows()][-1] == f"again {generation}"


def test_the_same_call_twice_marks_once(folder: Path) -> None:
    selection = Selection(samples={"server": "s1"})
    assert mark(folder, selection, "stale", "canary")
    once = (folder / MARKS).read_bytes()
    assert not mark(folder, selection, "stale", "canary")
    assert (folder / MARKS).read_bytes() == once


def test_a_row_that_stands_there_once_more_than_it_was_marked_is_damage(folder: Path) -> None:
    mark(folder, Selection(samples={"key": "a"}), "stale", "canary")
    JsonLines(folder / SAMPLES).append_many([_sample("a", "s3"), _sample("a", "s3")])
    with pytest.raises(StorageError, match="the sample a stands there twice") as caught:
        Samples(folder).keys()
    assert str(caught.value.where).endswith(f"{SAMPLES}:6")


def test_a_marked_row_that_was_deleted_is_missed(folder: Path) -> None:
    mark(folder, Selection(samples={"key": "b"}), "stale", "canary")
    lines = (folder / SAMPLES).read_text().splitlines(keepends=True)
    (folder / SAMPLES).write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(StorageError, match="1 marked rows are missing"):
        Samples(folder).keys()


def test_a_batch_of_judgments_is_marked_alone_and_can_be_judged_again(folder: Path) -> None:
    JsonLines(folder / JUDGMENTS).append(_judgment("a", "b-2", repeat=1))
    hit = mark(folder, Selection(judgments={"batch": "b-2"}), "the judge saw labels", "audit")
    assert (len(hit.samples), [row["repeat"] for row in hit.judgments]) == (0, [1])
    assert Samples(folder).keys() == set("abcd")
    assert len(list(read_judgments(folder))) == 4
    JsonLines(folder / JUDGMENTS).append(_judgment("a", "b-2", repeat=1, scores={"sarcasm": 3}))
    assert [row["scores"] for row in read_judgments(folder)][-1] == {"sarcasm": 3}


def test_a_mark_says_what_was_chosen_why_and_by_whom(folder: Path) -> None:
    mark(folder, Selection(samples={"server": "s1"}), "  stale \n adapter ", "canary")
    samples, judgments = Marks.read(folder).all
    assert (samples.chosen, samples.why, samples.by) == ({"server": "s1"}, "stale adapter", "canary")
    assert (samples.names, judgments.target) == ((("a",), ("b",)), "judgments")


@pytest.mark.parametrize(
    ("samples", "judgments", "what"),
    [({}, {}, "which rows"), ({"key": "a"}, {"key": "a"}, "which rows"), ({"sever": "s1"}, {}, "no field 'sever'")],
)
def test_a_selection_of_everything_or_by_nothing_known_is_refused(samples: Any, judgments: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Selection(samples, judgments)


def test_rows_are_not_marked_without_a_reason(folder: Path) -> None:
    with pytest.raises(UsageError, match="without a reason"):
        mark(folder, Selection(samples={"key": "a"}), "  ", "a person")
    assert not (folder / MARKS).exists()


def test_fields_are_read_as_people_write_them(folder: Path) -> None:
    assert fields_of("model=llama, server=s1") == {"model": "llama", "server": "s1"}
    assert len(choose(folder, Selection(samples=fields_of("model=llama server=s2"))).samples) == 2
    for text in ("llama", "model=", "model=a model=b"):
        with pytest.raises(UsageError):
            fields_of(text)


def test_a_line_that_is_no_mark_is_reported_with_its_place(folder: Path) -> None:
    JsonLines(folder / MARKS).append({"v": 9, "target": "samples", "names": [["a"]]})
    with pytest.raises(StorageError, match="no mark") as caught:
        Samples(folder).keys()
    assert str(caught.value.where).endswith(f"{MARKS}:1")

"""Rubrics: read whole, and every malformed thing is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.errors import RubricError
from nightlab.experiments.rubric import Rubric
from nightlab.files import sha256_file

from ..judging.conftest import RUBRIC


def write(folder: Path, text: str) -> Path:
    path = folder / "rubric.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_rubric_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path, RUBRIC)
    rubric = Rubric.load(path)
    assert (rubric.name, rubric.version, list(rubric.dimensions)) == ("tone", 2, ["joy", "gloom"])
    joy = rubric.dimensions["joy"]
    assert (joy.range, joy.question, joy.anchors[10]) == ((0, 10), "How joyful is the text?", "Nothing but joy.")
    assert [marker.points for marker in joy.markers] == [4, 7]
    assert joy.markers[0].regex.search("HOORAY")
    assert joy.holds(0)
    assert not joy.holds(10.5)
    assert rubric.body.startswith("# How to score")
    assert rubric.sha256 == sha256_file(path)
    assert rubric.sha == rubric.sha256[:16]


def test_any_change_of_the_file_is_another_rubric(tmp_path: Path) -> None:
    before = Rubric.load(write(tmp_path, RUBRIC)).sha256
    assert Rubric.load(write(tmp_path, RUBRIC + "One more line.\n")).sha256 != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\nname", "name", "no front matter"),
        ("name: tone", "nmae: tone", "did you mean `name`"),
        ("version: 2", "version: two", "`version` must be"),
        ("version: 2", "version: [", "rubric.md:"),
        ("version: 2\n", "", "`version` is missing"),
        ("version: 2", "version: 2\nversion: 3", "twice"),
        ("range: [0, 10]", "range: [10, 0]", "`dimensions.joy.range` must rise"),
        ("range: [0, 10]", "range: [0]", "`dimensions.joy.range[1]` is missing"),
        ("{0: Not at all.,", "{-1: Not at all.,", "anchor at -1, outside of the range [0, 10]"),
        ("{0: Not at all.,", "{none: Not at all.,", "`dimensions.joy.anchors.none`"),
        ("question: How joyful is the text?", "question: ''", "`dimensions.joy.question` is empty"),
        ('"hooray|what fun"', '"hooray|(what fun"', "is no regular expression"),
        ("points: 4", "point: 4", "did you mean `points`"),
        ("points: 4", "points: .nan", "must be a finite number"),
        ("joy:", "'a joy':", "`dimensions.a joy`"),
    ],
)
def test_a_malformed_rubric_is_one_sentence_with_the_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RUBRIC
    path = write(tmp_path, RUBRIC.replace(old, new, 1))
    with pytest.raises(RubricError) as caught:
        Rubric.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_other_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match="no such file"):
        Rubric.load(tmp_path / "rubric.md")
    with pytest.raises(RubricError, match="no mapping"):
        Rubric.load(write(tmp_path, "---\n- a\n---\n"))
    with pytest.raises(RubricError, match="`dimensions` is empty"):
        Rubric.load(write(tmp_path, "---\nname: a\nversion: 1\ndimensions: {}\n---\n"))
    (tmp_path / "rubric.md").write_bytes(b"---\nname: \xff\n---\n")
    with pytest.raises(RubricError, match="UTF-8"):
        Rubric.load(tmp_path / "rubric.md")


def test_the_shipped_rubric_can_be_read() -> None:
    path = Path(__file__).parents[2] / "experiments" / "exp_001_phase1_replication" / "rubric.md"
    assert all(dimension.markers for dimension in Rubric.load(path).dimensions.values())

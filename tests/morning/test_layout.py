"""Sections that fit on a screen: bounded lines, bounded columns, nothing hidden without saying so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.morning.layout import LINES, Item, Section, laid_out
from nightlab.morning.text import columns_of

WORDS = "the early layers of the small model carry nearly all of it "


def sections(*counts: int, words: int = 2) -> list[Section]:
    return [
        Section(f"Part {n}", tuple(Item(f"q{i}", WORDS * words, ("a default",)) for i in range(count)), "show", "none")
        for n, count in enumerate(counts)
    ]


@given(
    st.lists(st.lists(st.text(max_size=300), max_size=12), min_size=1, max_size=5),
    st.sampled_from([48, 60, 80, 200]),
)
def test_never_longer_or_wider(parts: list[list[str]], columns: int) -> None:
    made = [Section("Part", tuple(Item("q1", text, (text,)) for text in part), "show", "none") for part in parts]
    lines = laid_out(["head"], made, columns).split("\n")
    assert len(lines) <= LINES
    assert all(columns_of(line) <= min(columns, 60) for line in lines)


def test_what_is_left_out_is_counted() -> None:
    text = laid_out(["head"], sections(20, 1), 60)
    shown = text.count("  q") - 1
    assert f"{20 - shown} more: show" in text
    assert "Part 0 (20)" in text
    assert shown > 3


def test_every_section_gets_its_turn() -> None:
    text = laid_out(["head"], sections(9, 9, 9, words=1), 60)
    for part in text.split("Part ")[1:]:
        assert "q0" in part


@pytest.mark.parametrize("columns", [48, 60])
def test_empty_sections_say_so(columns: int) -> None:
    assert laid_out(["head"], sections(0), columns) == "head\nPart 0: none"

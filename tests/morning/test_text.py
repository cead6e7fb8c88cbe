"""Bounded, printable text, and wrapping to a width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.morning.text import clean, columns_of, duration, wrap


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\r\nb\tc", "a b c"),
        ("bell\x07 null\x00", "bell null"),
        ("\x1b]0;title\x07after", "after"),
        ("right\u202eleft", "right left"),
        ("x" * 30, "x" * 17 + "..."),
    ],
)
def test_clean_shows_only_what_can_be_printed(text: str, shown: str) -> None:
    assert clean(text, 20) == shown


@given(st.text(), st.integers(min_value=4, max_value=80))
def test_clean_is_bounded_and_on_one_line(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert columns_of(shown) <= limit
    assert shown.isprintable()


@given(st.text(), st.integers(min_value=12, max_value=80))
def test_wrap_keeps_the_width_and_every_character(text: str, width: int) -> None:
    line = clean(text, 400)
    rows = wrap(line, width, first="- ", rest="  ")
    assert all(columns_of(row) <= width for row in rows)
    assert "".join("".join(row[2:] for row in rows).split()) == "".join(line.split())


def test_wide_characters_take_two_columns() -> None:
    assert columns_of("層") == 2
    assert clean("層" * 10, 10) == "層層層..."


@pytest.mark.parametrize(("seconds", "text"), [(41.4, "41 s"), (720, "12 min"), (28680, "7 h 58")])
def test_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text

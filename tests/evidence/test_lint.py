"""A number that somebody typed into a report is an error with its line; names that hold digits are not."""

from __future__ import annotations

import random

import pytest

from nightlab.evidence.lint import find_typed, lint
from nightlab.evidence.report import default_template
from nightlab.evidence.sandbox import ReportError

CLEAN = [
    "As predicted by H1 and c12, exp_001 and exp_001_phase1_replication show it in layers_0_20.",
    "## 2. Results\n\n### 2.1 More\n\nprose",
    "Use `layers_0_20`, `python3 reproduce.py`, `figs/fig1_layers.png` or `nightlab-0.1.0.whl`.",
    '{{ mean("sarcasm", model="llama", condition="layers_0_20") }} in {{ level("layers_0_20") }}',
    '{{ difference("sarcasm", {"condition": "layers_0_20"}, {"condition": "base"}) }}',
    "{# a comment may say 42 #} prose",
    '{% if verdict("H1") == "supported" %}It holds.{% endif %}',
    "{% for name in list_of %}{{ name }}{% endfor %} no numbers here &amp; there",
    "qwen2 answers",
]
TYPED = [
    ("The mean is 5.4 of ten.", 1, "5.4"),
    ("fine\nfine\nabout 63 of 63 samples", 3, "63"),
    ("an increase of 40%", 1, "40%"),
    ("`5.4` in a code span", 1, "5.4"),
    ("`mean 5.4` in a code span", 1, "5.4"),
    ('{{ mean("sarcasm") }}\n\nbut 3,5 was typed', 3, "3,5"),
    ("{{ 5.4 }}", 1, "5.4"),
    ("\n{{ '5.4' }}", 2, "5.4"),
    ("{% set best = 5.4 %}{{ best }}", 1, "5.4"),
    ("{{ mean('sarcasm').value + 3 }}", 1, "3"),
    ("{{ 'a5'|upper }}", 1, "a5"),
    ("{{ '5{}'.format('x') }}", 1, "5{}"),
    ("{% raw %}5.4{% endraw %}", 1, "5.4"),
    ("half: ½", 1, "½"),
    ("arabic ٣", 1, "٣"),
    ("&#53; typed as an entity", 1, "&#53;"),
    ("H1 has 5 of them", 1, "5"),
    ("layers_0_20.5", 1, "20.5"),
    ("2. a numbered item is a number", 1, "2"),
    ("## Results of 2026", 1, "2026"),
    ("{{ mean(5) }}", 1, "5"),
]


@pytest.mark.parametrize("text", CLEAN)
def test_names_and_queries_are_clean(text: str) -> None:
    assert find_typed(text, names=["qwen2"]) == []


@pytest.mark.parametrize(("text", "line", "number"), TYPED)
def test_typed_numbers_are_found_with_their_line(text: str, line: int, number: str) -> None:
    found = find_typed(text)
    assert found, text
    assert found[0].line == line
    assert number in found[0].text or found[0].text in number


def test_the_error_names_file_and_line() -> None:
    with pytest.raises(ReportError) as caught:
        lint("one\ntwo\nthe mean is 5.4, or 5.5\n", "exp_001/report.md.j2")
    assert caught.value.where == "exp_001/report.md.j2:3"
    assert "`5.4" in caught.value.what


def test_the_shipped_template_is_clean() -> None:
    assert find_typed(default_template()) == []


def test_a_malformed_template_is_an_error_with_its_line() -> None:
    with pytest.raises(ReportError, match="malformed") as caught:
        lint("one\n{{ oh(\n", "report.md.j2")
    assert str(caught.value.where).startswith("report.md.j2:")


def test_no_typed_one_decimal_number_passes() -> None:
    """Random numbers at random places of the shipped template's prose: every single one is found."""
    random_ = random.Random(11)
    lines = default_template().split("\n")
    places = [number for number, line in enumerate(lines) if line and "{" not in line and "}" not in line]
    frames = ["{}", "the mean is {} here", "({})", "**{}**", "| {} |", "`{}`", "x={}", "~{}", "was {}, as said", "-{}"]
    for _ in range(300):
        place, typed = random_.choice(places), f"{random_.uniform(0, 10):.1f}"
        changed = [*lines[: place + 1], "", random_.choice(frames).format(typed), *lines[place + 1 :]]
        if changed[place].startswith("   mean("):
            continue
        found = find_typed("\n".join(changed))
        assert [one.line for one in found] == [place + 3], (typed, changed[place + 2])

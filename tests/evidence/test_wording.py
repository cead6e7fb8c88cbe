"""Words that claim more than the claims do are refused with their line; beside a claim that says so they pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.evidence.analysis import Analysis
from nightlab.evidence.analyze import analyze
from nightlab.evidence.report import compile_text, default_template
from nightlab.evidence.sandbox import ReportError
from nightlab.evidence.scope import Scope
from nightlab.evidence.wording import find_unbacked

from .conftest import Make

SCOPE = Scope(
    topics=frozenset({"llama", "gemma", "sarcasm", "layers_0_20", "base"}),
    conditions=frozenset({"base", "layers_0_20", "layers_20_40"}),
    prompts=frozenset({"creative-tea", "direct-rain"}),
    categories=frozenset({"creative", "direct"}),
    hypotheses=frozenset({"H1", "H2"}),
    figures=frozenset({"fig1_layers"}),
    claims={"c1": "peak", "c2": "below", "c3": "greater"},
)
BACKED = [
    "Sarcasm is highest early (c1), as exp_001/c1 says.",
    '{{ claim("c1") }}: its largest mean lies early.',
    "The late layers have no effect on sarcasm (c2).",
    "In all models the adapter makes more sarcasm than base (c3).",
    '{% if verdict("H1") == "supported" %}Only the early layers carry sarcasm.{% endif %}',
    "The server failed twice; only its port was taken.",
    "We look at one prompt at a time, in `creative-tea` first, as H1 asks; see fig1_layers and layers_0_20.",
    "## The most wanted answer\n\nNothing else was asked.",
]
UNBACKED = [
    ("Sarcasm is highest in `layers_0_20`.", 1, "highest", "largest"),
    ("fine\n\nOnly the early layers carry sarcasm (c1).", 3, "Only", "nowhere else"),
    ("Llama falls monotonically (c1).", 1, "monotonically", "monotonic"),
    ("The late layers have no effect on sarcasm (c1).", 1, "no effect", "no effect"),
    ("The pattern is consistent across prompts (c2).", 1, "consistent", "every one"),
    ("Gemma is more sarcastic than llama.", 1, "more sarcastic than", "compares"),
    ("This proves that llama peaks early (c1).", 1, "proves", "stronger than any evidence"),
    ('{% if verdict("H1") == "supported" %}It is clearly the effect.{% endif %}', 1, "clearly", "stronger"),
    ("Llama peaks early (c9).", 1, "peaks", "largest"),
    ("It holds for eight of nine prompts.", 1, "eight of nine", "in words"),
    ("Sarcasm doubled.", 1, "doubled", "in words"),
    ("About half of the answers are sarcastic.", 1, "half of", "in words"),
    ("It is five points above base.", 1, "five points", "in words"),
    ("As H7 says.", 1, "H7", "no such hypothesis"),
    ("As layers_0_30 shows.", 1, "layers_0_30", "did you mean layers_0_20"),
    ("See fig9_layers.", 1, "fig9_layers", "no such figure"),
    ("Ask `creative-teas`.", 1, "creative-teas", "did you mean creative-tea"),
    ("See c7.", 1, "c7", "no such claim"),
]


@pytest.mark.parametrize("text", BACKED)
def test_backed_words_pass(text: str) -> None:
    assert find_unbacked(text, "x", SCOPE) == []


@pytest.mark.parametrize(("text", "line", "word", "why"), UNBACKED)
def test_unbacked_words_are_found(text: str, line: int, word: str, why: str) -> None:
    found = [said for said in find_unbacked(text, "x", SCOPE) if said.text == word]
    assert [said.line for said in found] == [line]
    assert why in found[0].why


def test_the_shipped_template_speaks_of_no_result_itself() -> None:
    assert find_unbacked(default_template(), "x", SCOPE) == []


@pytest.fixture
def analysis(make: Make, servers: list[dict[str, Any]]) -> Analysis:
    return analyze(make(prompts=5).folder, servers=servers, resamples=200)


def test_the_compiler_names_the_query_to_use_instead_of_a_number(analysis: Analysis) -> None:
    mean = analysis.summary.at("gemma", "layers_40_60", "sarcasm").value
    for typed, query in (
        (f"{mean:.1f}", '{{ mean("sarcasm", model="gemma", condition="layers_40_60") }}'),
        ("105", "{{ planned() }}"),
    ):
        with pytest.raises(ReportError) as caught:
            compile_text(f"fine\nIt was {typed} this time.", Path("words.md"), analysis)
        assert caught.value.where == "words.md:2"
        assert query in str(caught.value.hint) or f"{mean:.1f}" in str(caught.value.hint)


def test_the_compiler_renders_claims_and_queries_and_refuses_strong_words(analysis: Analysis) -> None:
    first = analysis.claims[0]
    text = 'As predicted: {{ claim("c1") }} Of {{ planned() }} cells {{ judged() }} count.'
    assert compile_text(text, "words", analysis) == (
        f"As predicted: {first.sentence} (c1, confirmatory) Of 105 cells 105 count."
    )
    with pytest.raises(ReportError, match="stronger than any evidence") as caught:
        compile_text("so\nThis proves the effect.", "words", analysis)
    assert caught.value.where == "words:2"

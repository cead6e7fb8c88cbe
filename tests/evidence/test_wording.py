"""Words that claim more than the claims do are refused with their line; beside a claim that says so they pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightlab.evidence.analysis import Analysis
from nightlab.evidence.analyze import analyze
from nightlab.evidence.report import compile_report, compile_text, default_template
from nightlab.evidence.sandbox import ReportError
from nightlab.evidence.scope import Cited, Scope
from nightlab.evidence.wording import find_unbacked

from .conftest import Make

SCOPE = Scope(
    topics=frozenset({"llama", "gemma", "sarcasm", "wit", "layers_0_20", "base"}),
    conditions=frozenset({"base", "layers_0_20", "layers_20_40"}),
    prompts=frozenset({"creative-tea", "direct-rain"}),
    categories=frozenset({"creative", "direct"}),
    hypotheses={
        "H1": {"supported": frozenset({"peak"}), "contradicted": frozenset({"peak", "not peak"})},
        "H2": {"supported": frozenset({"below"}), "contradicted": frozenset({"not below"})},
    },
    experiment="exp_001_toy",
    figures=frozenset({"fig1_layers"}),
    claims={
        "c1": Cited(
            frozenset({"peak"}),
            frozenset({"llama", "sarcasm", "layers_0_20", "layers_20_40", "creative-tea", "creative"}),
        ),
        "c2": Cited(frozenset({"below"})),
        "c3": Cited(frozenset({"greater"})),
        "c4": Cited(frozenset({"not greater"})),
    },
)
BACKED = [
    "Sarcasm is highest early (c1), as exp_001/c1 says.",
    '{{ claim("c1") }}: its largest mean lies early.',
    "The late layers have no effect on sarcasm (c2).",
    "In all models the adapter makes more sarcasm than base (c3).",
    '{% if verdict("H1") == "supported" %}Sarcasm is highest early.{% endif %}',
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


LIES = [
    "Gemma peaks early (c1).",
    "Wit is highest early in llama (c1).",
    "`base` is the weakest (c1).",
    "Sarcasm is lowest in layers_0_20 of llama (c1).",
    "Full exceeds base in sarcasm (c4).",
    "Sarcasm is highest early (exp_002/c1).",
    "{% if planned() %}Llama peaks late.{% endif %}",
    '{% if n("sarcasm", model="llama") > 3 %}Sarcasm is highest late.{% endif %}',
    '{% if verdict("H1") == "supported" %}fine{% else %}Llama peaks late.{% endif %}',
    '{% if verdict("H1") != "supported" %}Llama peaks late.{% endif %}',
    '{% if verdict("H1") == "supported" or true %}Llama peaks late.{% endif %}',
    '{% if verdict("H1") == "supported" %}Llama rises monotonically.{% endif %}',
    '{% if verdict("H2") == "contradicted" %}The late layers have no effect on sarcasm.{% endif %}',
    "Sarcasm in llama is by far\nthe greatest of any.",
    "We looked at llama. It is always the early part.",
    "We looked at sarcasm. Nothing else matters.",
    "Most of the answers are sarcastic in llama.",
    "Nearly all prompts show sarcasm.",
    "Sarcasm vanishes in the late layers.",
    "Sarcasm grows with depth.",
    "Llama outperforms gemma in sarcasm.",
    "The early layers are responsible for sarcasm.",
    "The adapter induces sarcasm.",
    "Sarcasm is entirely due to the early layers (c1).",
    "The effect is unmistakable.",
    "Every prompt shows the pattern.",
    "No model shows it in the late layers.",
    "The result replicates in gemma.",
    "Sarcasm is localized in the early layers.",
    "The effect is overwhelmingly early (c1).",
    "Layers matter regardless of the model.",
    "Sarcasm declines from range to range (c1).",
    "Llama is far above gemma.",
    "The adapter reliably adds sarcasm.",
    "The results confirm the hypothesis.",
    "Sarcasm is above that of gemma in llama.",
    "There is hardly any sarcasm in base.",
    "There is no trace of sarcasm in base.",
    "Sarcasm is twice as strong early.",
    "The peak is unique to the early layers.",
    "Sarcasm is at its height in layers_20_40.",
    "Late layers carry no sarcasm.",
    "The late layers are free of sarcasm.",
    "Sarcasm sits in the early layers.",
    "Sarcasm comes from the early layers.",
    "All of it comes from the early layers of llama.",
    "Llama's sarcasm starts early and fades.",
    "Sarcasm in layers_0_20 towers over the rest.",
    "Sarcasm is absent from the late layers.",
    "The score is zero in base.",
    "Llama peaks early, as in `direct` (c1).",
    "Llama peaks early. {# c1 #}",
    "Llama {# see c1. #}peaks early.",
    "Llama peaks early <!-- c1 -->.",
    "Llama peaks early <!-- Well. See c1 -->.",
    "{% if false %}{{ claim('c1') }}{% endif %}Llama peaks early.",
    "{% if true %}{% else %}c1: {% endif %}Llama peaks early.",
    "{% for _ in [] %}c1 {% endfor %}Llama peaks early.",
    '{% set x = claim("c1") %}Llama peaks early.',
    '{{ claim("c1") if false }}Llama peaks early.',
]
HONEST = [
    "Llama peaks in `layers_0_20` (c1).",
    '{% if verdict("H1") == "supported" %}In llama sarcasm peaks early.{% endif %}',
    '{% if verdict("H1") == "supported" and verdict("H2") == "supported" %}Llama peaks; base has no effect.{% endif %}',
    '{% if decided("sarcasm", "llama") %}Llama peaks early.{% endif %}',
    "Full does not exceed base in sarcasm (c4).",
    "We asked llama the same prompts again, because the first server of it was gone.",
    "The servers were started again; nothing else was changed.",
    "The next night asks the remaining cells.",
    "The base condition is the model without adapter.",
    "Sarcasm is highest\nearly in llama (c1).",
    'It is {{ mean("sarcasm", model="llama") }} in llama, {{ mean("sarcasm", model="gemma") }} in gemma.',
    "H1 was undecided: the interval includes zero.",
    "Whether the sarcasm comes from the early layers is open.",
    "Each panel is one model; points are means.",
    "The rubric has two dimensions.",
    "Each model was asked under each condition.",
    "We amplify an adapter in ranges of layers and ask what the scores do.",
    "The canary of llama passed on both servers.",
    "The `creative` prompts of llama peak early (c1).",
    "Of llama we take a direct look: it peaks early (c1).",
    '{{ claim("c1") }}{% if planned() %} Llama peaks early.{% endif %}',
    '{% if planned() %}Llama peaks early: {{- claim("c1") -}}{% else %}Nothing was asked.{% endif %}',
]


@pytest.mark.parametrize("text", BACKED)
def test_backed_words_pass(text: str) -> None:
    assert find_unbacked(text, "x", SCOPE) == []


@pytest.mark.parametrize(("text", "line", "word", "why"), UNBACKED)
def test_unbacked_words_are_found(text: str, line: int, word: str, why: str) -> None:
    found = [said for said in find_unbacked(text, "x", SCOPE) if said.text == word]
    assert [said.line for said in found] == [line]
    assert why in found[0].why


def test_lies_in_other_words_are_found_and_honest_sentences_raise_no_alarm() -> None:
    """Claims about other models or of another experiment, conditions that check nothing, pronouns, broken lines."""
    assert [text for text in LIES if not find_unbacked(text, "x", SCOPE)] == []
    assert [(text, said) for text in HONEST if (said := find_unbacked(text, "x", SCOPE))] == []


def test_a_claim_is_cited_for_what_it_is_about_and_the_line_is_that_of_the_word() -> None:
    [said] = find_unbacked("Well.\n\nLlama peaks early (c1),\nas does gemma.", "x", SCOPE)
    assert (said.line, said.text) == (4, "gemma")
    assert (
        said.why
        == "the claim cited beside it is about creative, layers_0_20, layers_20_40, llama, sarcasm, not about it"
    )
    both = {**SCOPE.claims, "c5": Cited(frozenset({"peak"}), frozenset({"gemma", "sarcasm"}))}
    assert find_unbacked("Llama peaks early (c1), as does gemma (c5).", "x", replace(SCOPE, claims=both)) == []


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


WRONG_TITLES = [
    ("{{ level('llama') }} peaks in {{ peak('sarcasm', 'llama') }}", "Llama peaks in 0–20", "peaks.*: no claim says"),
    ("{% if decided('sarcasm', 'qwen') %}It peaks{% endif %}", "It peaks", "it says “It peaks”, and the data give “”"),
    ("{{ level('llama') }} reaches 9.5", "llama reaches 9.5", "a number is typed into a title: `9.5`"),
    (
        None,
        "Sarcasm by amplified layers: llama peaks in 60–80",
        "and the data give “Sarcasm by amplified layers: llama",
    ),
    ("{{ level('lama') }}", "lama", "no level `lama`"),
]


def test_a_wrong_title_stops_the_report_by_its_figures_name(analysis: Analysis) -> None:
    folder, (first, *others) = analysis.table.rows.folder, analysis.figures
    assert folder is not None
    for says, title, why in WRONG_TITLES:
        wrong = replace(first, says=says or first.says, title=title)
        with pytest.raises(ReportError, match=why) as caught:
            compile_report(folder, replace(analysis, figures=(wrong, *others)))
        assert caught.value.where == "the title of fig1_layers"
    assert not (folder / "report.md").exists()
    assert compile_report(folder, analysis).is_file()

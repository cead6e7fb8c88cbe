"""Every kind of prediction, both ways and undecided."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nightlab.evidence.family import evaluate_all
from nightlab.evidence.predict import Verdict, evaluate
from nightlab.evidence.table import Table
from nightlab.experiments.predictions import Hypothesis

from .conftest import Make

LLAMA = {"model": "llama", "dimension": "sarcasm"}
QWEN = {"model": "qwen", "dimension": "sarcasm"}
FULL = {"left": {"condition": "sarcasm_full"}, "right": {"condition": "base"}}
OUTER = ["layers_20_40", "layers_80_100"]
LATE = {"model": "llama", "condition": "layers_80_100"}

PREDICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "peak", **LLAMA, "expect": "layers_0_20"}, "supported"),
    ({"kind": "peak", **LLAMA, "expect": "layers_40_60"}, "contradicted"),
    ({"kind": "peak", **QWEN, "expect": "layers_40_60"}, "undecided"),
    ({"kind": "peak", **LLAMA, "expect": "layers_20_40", "among": OUTER}, "supported"),
    ({"kind": "diffuse", **QWEN}, "supported"),
    ({"kind": "diffuse", **LLAMA}, "contradicted"),
    ({"kind": "diffuse", **QWEN, "max_spread": 8.0, "by": 9.0}, "contradicted"),
    ({"kind": "diffuse", **QWEN, "max_spread": 0.8}, "undecided"),
    ({"kind": "greater", "dimension": "sarcasm", **FULL, "by": 3.0, "each": "model"}, "supported"),
    ({"kind": "greater", "dimension": "sarcasm", **FULL, "by": 9.5, "each": "model"}, "contradicted"),
    ({"kind": "greater", "dimension": "sarcasm", **FULL, "by": 7.3, "each": "model"}, "undecided"),
    (
        {
            "kind": "greater",
            "dimension": "sarcasm",
            "left": {"model": "llama", "condition": "base"},
            "right": {"model": "llama", "condition": "sarcasm_full"},
        },
        "contradicted",
    ),
    ({"kind": "below", "dimension": "sarcasm", "where": LATE, "than": 1.5}, "supported"),
    (
        {"kind": "below", "dimension": "sarcasm", "where": {**LATE, "condition": "sarcasm_full"}, "than": 1.5},
        "contradicted",
    ),
    ({"kind": "below", "dimension": "sarcasm", "where": LATE, "than": 0.6}, "undecided"),
    ({"kind": "same_peak", "dimension": "sarcasm", "models": ["llama", "gemma"]}, "contradicted"),
    (
        {
            "kind": "same_peak",
            "dimension": "sarcasm",
            "models": ["gemma", "llama"],
            "among": ["layers_20_40", "layers_80_100"],
        },
        "supported",
    ),
    ({"kind": "same_peak", "dimension": "sarcasm", "models": ["llama", "qwen"]}, "undecided"),
]


def judged(table: Table, prediction: dict[str, Any]) -> Verdict:
    hypothesis = Hypothesis.model_validate({"id": "H1", "statement": "so it is", "prediction": prediction})
    return evaluate(hypothesis, table)


@pytest.mark.parametrize(("prediction", "expected"), PREDICTIONS)
def test_each_kind_comes_out_each_way(make: Make, prediction: dict[str, Any], expected: str) -> None:
    verdict = judged(Table.from_experiment(make().folder), prediction)
    assert verdict.verdict == expected, verdict.text
    assert verdict.n == verdict.planned > 0
    assert verdict.numbers


def test_the_frozen_hypotheses_are_evaluated_in_order(make: Make) -> None:
    verdicts = evaluate_all(Table.from_experiment(make().folder))
    assert [verdict.id for verdict in verdicts] == ["H1", "H2", "H3", "H4", "H5", "H6"]
    assert verdicts[0].text.startswith("largest mean in layers_0_20")
    assert verdicts[0].numbers["peak"] == "layers_0_20"


def test_without_answers_everything_is_undecided_with_the_reason(make: Make) -> None:
    made = make()
    made.samples = [row for row in made.samples if row["model"] != "llama"]
    made.judgments = made.judgments[63:]
    verdict = judged(Table.from_experiment(made.write()), PREDICTIONS[0][0])
    assert verdict.verdict == "undecided"
    assert "too few scored answers to decide: llama, layers_0_20 has n=0 of 9" in verdict.text


def test_two_answers_are_an_anecdote_and_decide_nothing(make: Make) -> None:
    made = make(prompts=2)
    verdicts = evaluate_all(Table.from_experiment(made.folder))
    assert {verdict.verdict for verdict in verdicts} == {"undecided"}


def test_without_judgments_everything_is_undecided(make: Make) -> None:
    made = make()
    made.judgments = []
    verdicts = evaluate_all(Table.from_experiment(made.write()))
    assert {verdict.verdict for verdict in verdicts} == {"undecided"}
    assert "no dimension `sarcasm`" in verdicts[0].text


def test_undeclared_pooling_is_not_evaluated(make: Make) -> None:
    verdict = judged(Table.from_experiment(make().folder), {"kind": "greater", "dimension": "sarcasm", **FULL})
    assert verdict.verdict == "undecided"
    assert "pools over model" in verdict.text


def test_a_wrong_verdict_is_rare_where_nothing_peaks(make: Make) -> None:
    """All ranges are equal: of 40 noisy experiments, few claim a peak or refuse the expected one."""
    made = make(truth={"qwen": [4.0] * 7}, hypotheses=[])
    random_ = random.Random(5)
    verdicts = []
    for _ in range(40):
        for row in made.judgments:
            row["scores"]["sarcasm"] = round(random_.gauss(4, 2), 1)
        table = Table.from_experiment(made.write(), resamples=500)
        verdicts.append(judged(table, {"kind": "peak", **QWEN, "expect": "layers_40_60"}))
    assert sum(verdict.decided for verdict in verdicts) <= 5

"""Pooling that hides a reversal is refused until the text says so, by code."""

from __future__ import annotations

import pytest

from nightlab.evidence.analyze import analyze
from nightlab.evidence.design import QueryError
from nightlab.evidence.family import evaluate_all
from nightlab.evidence.interaction import find_interaction
from nightlab.evidence.queries import Queries
from nightlab.evidence.report import compile_report
from nightlab.evidence.table import Table

from .conftest import Make

OVER = ["model", "prompt", "category", "replicate"]
LEFT, RIGHT = {"condition": "sarcasm_full"}, {"condition": "base"}
MIXED = {"llama": [1.0, 9.0, 1, 1, 1, 1, 1], "gemma": [1.0, 8.0, 1, 1, 1, 1, 1], "qwen": [5.0, 2.0, 1, 1, 1, 1, 1]}


def _queries(make: Make, truth: dict[str, list[float]]) -> Queries:
    table = Table.from_experiment(make(truth=truth, hypotheses=[]).folder, resamples=300)
    return Queries(table, evaluate_all(table))


def test_a_reversal_within_a_level_is_refused_until_it_is_said(make: Make) -> None:
    queries = _queries(make, MIXED)
    assert queries.difference("sarcasm", LEFT, RIGHT, over=OVER).value > 0
    with pytest.raises(QueryError, match=r"reversed in qwen: -\d.*does not say so"):
        queries.refuse_reversals()
    assert "it is reversed in qwen: -" in queries.interaction("sarcasm", LEFT, RIGHT, "model", over=OVER)
    queries.refuse_reversals()


def test_a_direction_that_holds_everywhere_needs_no_word(make: Make) -> None:
    queries = _queries(make, MIXED | {"qwen": [1.0, 7.0, 1, 1, 1, 1, 1]})
    queries.difference("sarcasm", LEFT, RIGHT, over=OVER)
    queries.refuse_reversals()
    assert "has the pooled direction" in queries.interaction("sarcasm", LEFT, RIGHT, "model", over=OVER)


def test_simpsons_paradox_is_found_also_where_no_level_proves_it(make: Make) -> None:
    """Gemma is asked mostly at the top, llama mostly at the bottom: pooled, the treatment seems to help."""
    truth = {"llama": [3.0, 2.6, 0, 0, 0, 0, 0], "gemma": [9.0, 8.6, 0, 0, 0, 0, 0]}
    made = make(truth=truth, hypotheses=[], noise=0.3)
    for row, cell in zip(made.judgments, made.cells, strict=True):
        number = int(cell.prompt.rsplit("-", 1)[1])
        few = number > 2
        lost = (cell.model, cell.condition) in {("llama", "sarcasm_full"), ("gemma", "base")} and few
        if lost:
            row["scores"]["sarcasm"] = None
    table = Table.from_experiment(made.write(), resamples=300)
    found = find_interaction(table, "sarcasm", LEFT, RIGHT, "model", OVER)
    assert found.pooled.value > 0
    assert all(own.value < 0 for own in found.levels.values())
    assert found.reversed == ("llama", "gemma")


@pytest.mark.slow
def test_a_report_that_hides_a_reversal_is_not_compiled(make: Make) -> None:
    folder = make(truth=MIXED, hypotheses=[]).folder
    analysis = analyze(folder, resamples=300)
    asked = '"sarcasm", {"condition": "sarcasm_full"}, {"condition": "base"}'
    over = 'over=["model", "prompt", "category", "replicate"]'
    (folder / "report.md.j2").write_text(f"The adapter adds {{{{ difference({asked}, {over}) }}}}.\n")
    with pytest.raises(QueryError, match="does not say so"):
        compile_report(folder, analysis)
    assert not (folder / "report.md").exists()
    said = f'{{{{ interaction({asked}, factor="model", {over}) }}}}'
    (folder / "report.md.j2").write_text(f"The adapter adds {{{{ difference({asked}, {over}) }}}}; {said}.\n")
    assert "it is reversed in qwen" in compile_report(folder, analysis).read_text()

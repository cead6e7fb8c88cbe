"""Queries answer with n, and refuse what they do not know by naming what is near."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nightlab.evidence.design import QueryError
from nightlab.evidence.family import evaluate_all
from nightlab.evidence.queries import Queries
from nightlab.evidence.table import Table

from .conftest import Make


@pytest.fixture
def queries(make: Make) -> Queries:
    table = Table.from_experiment(make().folder)
    return Queries(table, evaluate_all(table))


def test_every_query_answers(queries: Queries) -> None:
    left, right = {"model": "llama", "condition": "sarcasm_full"}, {"model": "llama", "condition": "base"}
    assert str(queries.mean("sarcasm", model="llama", condition="base")).endswith("n=9 of 9")
    assert queries.difference("sarcasm", left, right).value > 6
    assert queries.least("sarcasm", left, right).endswith("n=9 of 9")
    assert (queries.n(model="llama"), queries.n("wit", model="llama"), queries.planned(), queries.missing()) == (
        63,
        63,
        189,
        0,
    )
    assert (queries.answered(category="direct"), queries.judged(prompt="direct-1")) == (63, 21)
    assert (queries.peak("sarcasm", "llama"), queries.runner_up("sarcasm", "llama")) == (
        "`layers_0_20`",
        "`layers_20_40`",
    )
    assert queries.share("sarcasm", "llama", "layers_0_20") == "100.0 %"
    assert "at least" in queries.lead("sarcasm", "llama")
    assert "at most" in queries.spread("sarcasm", "qwen")
    assert queries.weakest("sarcasm", "qwen", "base").startswith("`layers_")
    assert "at least" in queries.gap("sarcasm", "qwen", "base")
    assert (queries.verdict("H1"), queries.statement("H3")) == ("supported", "Qwen spreads it")
    assert queries.level("layers_0_20") == "`layers_0_20`"
    assert "mean" in queries.vocabulary()


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (lambda q: q.mean("sarkasm", model="llama", condition="base"), "sarcasm"),
        (lambda q: q.mean("sarcasm", model="llama", condition="bse"), "base"),
        (lambda q: q.verdict("H11"), "H1"),
        (lambda q: q.level("gema"), "gemma"),
        (lambda q: q.share("sarcasm", "llama", "layers_0_2"), "layers_0_20"),
        (lambda q: q.mean("sarcasm", condition="base"), "name one model"),
    ],
)
def test_what_is_unknown_or_pooled_is_refused(queries: Queries, ask: Callable[[Queries], object], hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        ask(queries)
    assert hint in str(caught.value.hint)


def test_a_peak_without_data_is_refused(make: Make) -> None:
    made = make()
    made.samples, made.judgments = made.samples[:63], made.judgments[:63]
    table = Table.from_experiment(made.write())
    with pytest.raises(QueryError, match="no scored answer"):
        Queries(table, ()).peak("sarcasm", "gemma")

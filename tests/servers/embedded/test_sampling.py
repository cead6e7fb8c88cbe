"""Token choice: the right distribution, the seed's own, and nothing else's."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from nightlab.servers.embedded.rows import Row, Sampling
from nightlab.servers.embedded.sampling import choose, note_logprobs

CHANCES = (0.5, 0.25, 0.15, 0.1)


def draws(count: int, **options: float) -> Counter[int]:
    rows = [Row([1], None, Sampling(seed=i, **options)) for i in range(count)]  # type: ignore[arg-type]
    return Counter(choose(torch.tensor([CHANCES] * count).log(), rows))


@pytest.mark.slow
def test_tokens_come_as_often_as_their_probability_says() -> None:
    counts = draws(4000, temperature=1.0)
    for token, chance in enumerate(CHANCES):
        assert abs(counts[token] / 4000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 4000)
    cold = draws(4000, temperature=0.5)
    squared = [c * c for c in CHANCES]
    assert abs(cold[0] / 4000 - squared[0] / sum(squared)) < 0.04


@pytest.mark.slow
def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert set(draws(500, temperature=1.0, top_p=0.5)) == {0}
    assert set(draws(500, temperature=1.0, top_p=0.51)) == {0, 1}
    counts = draws(3000, temperature=1.0, top_p=0.75)
    assert set(counts) == {0, 1}
    assert abs(counts[0] / 3000 - 2 / 3) < 0.05


@pytest.mark.slow
def test_zero_temperature_takes_the_most_likely_and_choices_differ() -> None:
    assert draws(20, temperature=0.0) == {0: 20}
    rows = [Row([1], None, Sampling(seed=1), index=i) for i in range(50)]
    assert len({row.uniform() for row in rows}) == 50
    row = rows[0]
    first = row.uniform()
    row.output.append(3)
    assert row.uniform() != first
    assert 0 <= first < 1


@pytest.mark.slow
def test_logprobs_are_before_temperature_and_only_for_those_who_asked() -> None:
    asked = Row([1], None, Sampling(temperature=9.0, logprobs=2))
    silent = Row([1], None, Sampling())
    note_logprobs(torch.tensor([CHANCES, CHANCES]).log(), [silent, asked], [0, 3])
    assert silent.logprobs == []
    (item,) = asked.logprobs
    assert item.logprob == pytest.approx(math.log(0.1), rel=1e-6)
    assert [token for token, _ in item.top] == [0, 1]


@pytest.mark.slow
def test_a_row_ends_by_its_end_token_its_stop_token_or_its_length() -> None:
    eos = frozenset({2})
    for tokens, sampling, expected in (
        ([5, 2], Sampling(max_tokens=9), ("stop", None)),
        ([5, 7], Sampling(max_tokens=9, stop_token_ids=frozenset({7})), ("stop", 7)),
        ([2, 5], Sampling(max_tokens=2, ignore_eos=True), ("length", None)),
        ([5, 6, 8], Sampling(max_tokens=99), ("length", None)),
    ):
        row = Row([1], None, sampling)
        for token in tokens:
            assert row.finish is None
            row.accept(token, eos, 4)
        assert (row.finish, row.stop_reason) == expected

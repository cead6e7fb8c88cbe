"""Means and their intervals: exact where they must be, and right about as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nightlab.evidence.intervals import expanded_tail, interval, t_quantile
from nightlab.evidence.simulate import measure
from nightlab.evidence.stats import Estimate, bootstrap, mean_ci, number


@pytest.mark.parametrize(
    ("df", "probability", "value"),
    [
        (1, 0.975, 12.706),
        (2, 0.975, 4.303),
        (5, 0.95, 2.015),
        (8, 0.975, 2.306),
        (30, 0.975, 2.042),
        (400, 0.975, 1.96),
    ],
)
def test_t_quantiles_are_those_of_the_tables(df: int, probability: float, value: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(value, abs=2e-3)


def test_a_mean_is_the_mean_and_its_text_carries_n_and_planned() -> None:
    estimate = mean_ci([1, 2, 3, 4, math.nan], ["a", "b", "c", "d", "e"])
    assert (estimate.value, estimate.n, estimate.planned, estimate.clusters) == (2.5, 4, 5, 4)
    assert estimate.low < 2.5 < estimate.high
    assert str(estimate) == f"2.5 {estimate.interval_text()}, n=4 of 5"


def test_a_constant_has_a_point_interval() -> None:
    estimate = mean_ci([3.0] * 9)
    assert (estimate.low, estimate.high) == (3.0, 3.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another_one() -> None:
    values = [0.0, 1.0, 5.0, 2.0, 9.0, 4.0, 4.0, 1.0, 7.0]
    assert mean_ci(values, seed=3) == mean_ci(values, seed=3)
    assert mean_ci(values, seed=3) != mean_ci(values, seed=4)


def test_the_stream_of_resamples_is_the_one_published() -> None:
    """RandomState's stream is frozen: these numbers must never change, or old reports could not be made again."""
    estimate = mean_ci([0.0, 1.0, 5.0, 2.0, 9.0, 4.0, 4.0, 1.0, 7.0], seed=20261123)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == PUBLISHED


PUBLISHED = (1.3607, 6.3937)


@pytest.mark.parametrize(("values", "text"), [([4.0, 5.0], "4.5 (anecdote), n=2 of 2"), ([], "no data, n=0 of 0")])
def test_below_three_answers_a_number_is_an_anecdote(values: list[float], text: str) -> None:
    estimate = mean_ci(values)
    assert str(estimate) == text
    assert not estimate.has_interval


def test_many_answers_to_one_prompt_give_no_interval() -> None:
    estimate = mean_ci([1.0, 2.0, 3.0, 4.0], ["same"] * 4)
    assert str(estimate) == "2.5 (no interval), n=4 of 4"


def test_answers_to_one_prompt_do_not_count_as_independent() -> None:
    prompts = [str(i // 10) for i in range(90)]
    values = [float(i // 10) for i in range(90)]
    clustered, naive = mean_ci(values, prompts), mean_ci(values)
    assert clustered.high - clustered.low > 2.5 * (naive.high - naive.low)


def test_a_prompt_that_one_group_lost_is_left_out_of_the_difference() -> None:
    """The same answers to the same prompts are no difference, however hard the prompts are that one group lacks."""
    full = np.array([1.0, 1, 1, 1, 1, 9, 9, 9, 9])
    scores = np.concatenate([full, np.where(full > 5, np.nan, full)])
    groups = np.repeat(np.eye(2, dtype=bool), 9, axis=1)
    draws = bootstrap(scores, np.tile(np.arange(9), 2), groups, resamples=500, seed=0)
    found = draws.difference(0, 1)
    assert (found.value, found.low, found.high, found.n, found.planned, found.clusters) == (0, 0, 0, 5, 9, 5)
    assert draws.estimate(0).n == 9


def test_groups_of_other_prompts_are_compared_as_they_are() -> None:
    scores, groups = np.array([1.0, 2, 3, 5, 6, 7]), np.repeat(np.eye(2, dtype=bool), 3, axis=1)
    found = bootstrap(scores, np.arange(6), groups, resamples=500, seed=0).difference(1, 0)
    assert (found.value, found.n, found.clusters) == (4, 3, 3)


def test_a_difference_without_a_shared_prompt_says_so() -> None:
    scores, groups = np.array([1.0, 2, np.nan, np.nan, np.nan, 3]), np.repeat(np.eye(2, dtype=bool), 3, axis=1)
    found = bootstrap(scores, np.tile(np.arange(3), 2), groups, resamples=50, seed=0).difference(0, 1)
    assert (found.at_least(), found.n, found.planned) == ("no data", 0, 3)


def test_differences_are_paired_by_prompt() -> None:
    scores = np.array([0.0, 1, 10, 11, 20, 21, 30, 31, 40, 41])
    prompts = np.repeat(np.arange(5), 2)
    groups = np.array([[False, True] * 5, [True, False] * 5])
    draws = bootstrap(scores, prompts, groups, resamples=500, seed=1)
    difference = draws.difference(0, 1)
    assert (difference.value, round(difference.low, 9), round(difference.high, 9)) == (1.0, 1.0, 1.0)
    assert draws.estimate(0).high - draws.estimate(0).low > 20


def test_most_resamples_undefined_means_no_interval() -> None:
    draws = np.array([math.nan] * 6 + [1.0] * 4)
    assert all(math.isnan(bound) for bound in interval(draws, 1.0, np.ones(9), 9, 0.95))


def test_the_tail_shrinks_with_few_prompts_and_tends_to_the_nominal_one() -> None:
    assert expanded_tail(5, 0.95) < expanded_tail(9, 0.95) < expanded_tail(200, 0.95) < 0.025
    assert expanded_tail(5000, 0.95) == pytest.approx(0.025, abs=2e-4)


def test_an_interval_is_never_narrower_than_that_of_the_jackknife() -> None:
    values = np.array([0.0, 1, 5, 2, 9])
    found = mean_ci(list(values))
    half = t_quantile(0.975, 4) * values.std(ddof=1) / math.sqrt(5)
    assert found.low <= values.mean() - half + 1e-9
    assert found.high >= values.mean() + half - 1e-9


def test_three_prompts_have_an_interval_at_any_level() -> None:
    draws = bootstrap(np.array([1.0, 2, 4]), np.arange(3), np.ones((1, 3), bool), resamples=200, seed=1)
    widths = [draws.estimate(0, level).high - draws.estimate(0, level).low for level in (0.9, 0.99, 0.9999)]
    assert widths == sorted(widths)
    assert all(math.isfinite(width) for width in widths)


def test_a_ratio_is_paired_by_prompt_and_has_no_interval_where_its_base_may_be_zero() -> None:
    scores = np.array([2.0, 4, 6, 8, 10, 1, 2, 3, 4, 5])
    groups = np.repeat(np.eye(2, dtype=bool), 5, axis=1)
    draws = bootstrap(scores, np.tile(np.arange(5), 2), groups, resamples=500, seed=1)
    found = draws.ratio(0, 1)
    assert (found.value, round(found.low, 9), round(found.high, 9), found.n) == (2.0, 2.0, 2.0, 5)
    near_zero = bootstrap(scores - 3, np.tile(np.arange(5), 2), groups, resamples=500, seed=1).ratio(0, 1)
    assert not near_zero.has_interval


@pytest.mark.parametrize("kind", ["normal", "clipped", "marked"])
@pytest.mark.parametrize("prompts", [5, 9])
def test_intervals_cover_within_two_points_of_their_level(kind: str, prompts: int) -> None:
    """Clustered scores; the noise of the simulation itself is allowed. bench/coverage.py measures more of it."""
    found = measure(kind, prompts, trials=600, resamples=300)
    noise = 2 * math.sqrt(0.95 * 0.05 / 600)
    assert 0.93 - noise <= found.covered <= 0.97 + noise


def test_numbers_have_no_negative_zero() -> None:
    assert [number(value) for value in (-0.01, 0.04, -1.25, 2.0)] == ["0.0", "0.0", "-1.2", "2.0"]


def test_numbers_for_files_have_null_where_there_is_no_bound() -> None:
    found = Estimate(1.23456, math.nan, math.nan, 2, 9, 2).numbers()
    assert found == {"value": 1.2346, "low": None, "high": None, "n": 2, "planned": 9}

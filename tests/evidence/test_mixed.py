"""The mixed-effects model against simulated truth, where the plain difference of means is wrong."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("statsmodels", reason="the extra `stats` is not installed")

from nightlab.errors import NotSetUp
from nightlab.evidence.mixed import Mixed, fit
from nightlab.evidence.queries import Queries
from nightlab.evidence.table import Table

from .conftest import Make

TRUTH = 1.5


def simulated(seed: int, prompts: int, *, lost: bool) -> tuple[Mixed, float]:
    """The fit and the plain difference; `lost`: treated answers to prompts with low scores are mostly missing."""
    dice = np.random.default_rng(seed)
    codes = np.repeat(np.arange(prompts), 12)
    treated = np.tile(np.repeat([True, False], 6), prompts)
    heights = dice.normal(0, 2, prompts)
    scores = 5 + heights[codes] + TRUTH * treated + dice.normal(0, 1, len(codes))
    if lost:
        scores[treated & (heights[codes] < 0) & (dice.random(len(codes)) < 0.8)] = np.nan
    plain = float(np.nanmean(scores[treated]) - np.nanmean(scores[~treated]))
    return fit(scores, codes, treated, ~treated), plain


def test_an_effect_is_found_where_missing_answers_bias_the_plain_difference() -> None:
    found, plain = simulated(1, 60, lost=True)
    assert plain > TRUTH + 0.4
    assert found.estimate.value == pytest.approx(TRUTH, abs=0.2)
    assert found.estimate.low < TRUTH < found.estimate.high
    assert (found.estimate.planned, found.estimate.clusters) == (720, 60)
    assert found.estimate.n < 720
    assert "Laird & Ware 1982" in str(found)


@pytest.mark.slow
def test_a_balanced_design_gives_the_difference_of_means_and_intervals_cover_the_truth() -> None:
    found, plain = simulated(2, 10, lost=False)
    assert found.estimate.value == pytest.approx(plain, abs=1e-6)
    fits = [simulated(seed, 10, lost=True)[0] for seed in range(40)]
    assert not [one.trouble for one in fits if one.trouble]
    assert sum(one.estimate.low < TRUTH < one.estimate.high for one in fits) >= 36


def test_what_cannot_be_fitted_is_said_instead_of_a_number() -> None:
    codes, treated = np.repeat(np.arange(4), 2), np.tile([True, False], 4)
    same = fit(np.ones(8), codes, treated, ~treated)
    assert str(same) == "no estimate by a mixed-effects model (all scores are the same), n=8 of 8"
    few = fit(np.array([0.0, 1.0, 2.0, 3.0]), codes[:4], treated[:4], ~treated[:4])
    assert "3 prompts" in str(few)
    assert "n=4 of 4" in str(few)


def test_a_model_that_does_not_fit_gives_no_number() -> None:
    """Scores without any noise: there is no variance to estimate, and the fit says so in one way or the other."""
    codes, treated = np.repeat(np.arange(4), 2), np.tile([True, False], 4)
    apart = fit(treated.astype(np.float64), codes, treated, ~treated)
    nearly = fit(np.array([10, 0, 10, 0, 10, 0, 10, 0.1]), codes, treated, ~treated)
    for found in (apart, nearly):
        assert found.trouble.startswith(("the fit did not converge", "the fit failed: "))
        assert not found.estimate.has_interval
        assert str(found).startswith("no estimate by a mixed-effects model (the fit")
        assert str(found).endswith("n=8 of 8")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, treated = np.repeat(np.arange(4), 2), np.tile([True, False], 4)
    monkeypatch.setitem(sys.modules, "statsmodels", None)  # as Python marks what cannot be imported
    with pytest.raises(NotSetUp, match="statsmodels, which is not installed") as caught:
        fit(np.linspace(0, 7, 8), codes, treated, ~treated)
    assert 'pip install "nightlab[stats]"' in str(caught.value.hint)


def test_a_report_asks_for_it(make: Make) -> None:
    queries = Queries(Table.from_experiment(make().folder), ())
    mixed = queries.vocabulary()["mixed"]
    said = str(mixed("sarcasm", "layers_0_20", "base", model="llama"))
    assert "mixed-effects model" in said
    assert list(queries.asked.values()) == ['mixed("sarcasm", "layers_0_20", "base", model="llama")']

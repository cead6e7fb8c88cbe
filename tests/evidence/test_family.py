"""The hypotheses of a plan are one family: simulated, the chance of any wrong verdict stays at 5 % on each side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nightlab.evidence.family import can_still_decide, evaluate_all
from nightlab.evidence.predict import evaluate
from nightlab.evidence.stats import Draws, bootstrap
from nightlab.evidence.table import Table
from nightlab.evidence.trends import find_ranks, find_trend
from nightlab.experiments.schema import Config

from .conftest import RANGES, Make

NOTHING = {"llama": [2.0] * 7}
FAMILY = [
    {
        "id": f"H{number}",
        "statement": f"{name} does something",
        "prediction": {
            "kind": "greater",
            "dimension": "sarcasm",
            "left": {"model": "llama", "condition": name},
            "right": {"model": "llama", "condition": "base"},
        },
    }
    for number, name in enumerate(["sarcasm_full", *RANGES], 1)
]


IDS = [str(one["id"]) for one in FAMILY]


def under(table: Table, rule: dict[str, Any]) -> Table:
    """The same scores under another rule for the family."""
    config = Config.model_validate({**table.design.config.model_dump(), "multiplicity": rule})
    return replace(table, design=replace(table.design, config=config))


def _trial(table: Table, random: np.random.RandomState) -> Table:
    """The same plan with new scores in which no condition does anything."""
    prompts = random.normal(size=9)[table.prompt_codes]
    scores = 5 + prompts + random.normal(size=len(table.cells))
    table.scores[:] = scores[:, None]
    return table


def test_where_nothing_differs_a_family_is_wrong_in_one_of_twenty_and_single_tests_more_often(make: Make) -> None:
    table = Table.from_experiment(make(truth=NOTHING, hypotheses=FAMILY).folder, resamples=200)
    random = np.random.RandomState(3)
    trials, family, single, ordered = 100, 0, 0, 0
    for _ in range(trials):
        table = _trial(table, random)
        # with `by: 0`, supported is a false finding, and contradicted is one too
        family += any(verdict.decided for verdict in evaluate_all(table))
        single += any(evaluate(hypothesis, table).decided for hypothesis in table.design.hypotheses)
        ordered += any(verdict.decided for verdict in evaluate_all(under(table, {"sequence": IDS})))
    noise = 2 * (0.05 * 0.95 / trials) ** 0.5
    assert family / trials <= 0.05 * 2 + noise  # a test of each side at 5 %
    assert ordered / trials <= 0.05 * 2 + noise
    assert single > 2 * max(family, ordered)


def test_in_a_frozen_order_each_is_tested_at_the_whole_error_until_one_stays_undecided(make: Make) -> None:
    truth = {"llama": [2.0, 6.0, 2.0, 2.0, 2.0, 2.0, 3.1]}
    table = Table.from_experiment(make(truth=truth, hypotheses=FAMILY).folder, resamples=300)
    alone = {h.id: evaluate(h, table).verdict for h in table.design.hypotheses}
    assert alone == {"H1": "supported", "H6": "supported"} | dict.fromkeys(("H2", "H3", "H4", "H5"), "undecided")
    assert {v.id: v.verdict for v in evaluate_all(table) if v.decided} == {"H1": "supported"}  # Holm: H6 at 1 %
    first = evaluate_all(under(table, {"sequence": ["H1", "H6", "H2", "H3", "H4", "H5"]}))
    assert [v.id for v in first] == IDS
    assert {v.id: v.verdict for v in first} == alone
    assert all(v.stands for v in first)
    config = {"sequence": ["H1", "H2", "H6", "H3", "H4", "H5"]}
    late = {v.id: v for v in evaluate_all(under(table, config))}
    assert (late["H6"].verdict, late["H6"].stands) == ("undecided", False)
    assert late["H6"].text.startswith("supported if it stood alone, not after H2")
    design = under(table, config).design.config
    assert [name for name, v in late.items() if can_still_decide(v, design)] == ["H2", "H3", "H4", "H5"]


def _weak(make: Make, seed: int, **more: object) -> Table:
    """A plan in which one of six hypotheses is true by a little."""
    truth = {"llama": [2.0, 2.8, 2.0, 2.0, 2.0, 2.0, 2.0]}
    folder = make(f"exp_{seed:03}_a", truth=truth, seed=seed, hypotheses=FAMILY, **more).folder
    return Table.from_experiment(folder, resamples=300)


def test_a_verdict_that_the_family_does_not_carry_says_so_and_with_holm_is_none(make: Make) -> None:
    marked, held = 0, 0
    for seed in range(1, 5):
        for verdict in evaluate_all(_weak(make, seed, multiplicity={"none": "to see which would not survive"})):
            marked += not verdict.stands
            assert verdict.stands == ("not decided among 6 hypotheses (Holm)" not in verdict.text)
            assert verdict.decided or verdict.stands
        for verdict in evaluate_all(_weak(make, 100 + seed)):
            held += not verdict.stands
            assert verdict.stands or verdict.verdict == "undecided"
    assert marked
    assert held


def _draws(means: list[float], noise: float = 0.4, seed: int = 5) -> Draws:
    random = np.random.RandomState(seed)
    prompts = 9
    own = random.normal(0, 1, prompts)
    scores = np.concatenate([mean + own + random.normal(0, noise, prompts) for mean in means])
    groups = np.repeat(np.eye(len(means), dtype=bool), prompts, axis=1)
    return bootstrap(scores, np.tile(np.arange(prompts), len(means)), groups, resamples=500, seed=1)


@pytest.mark.parametrize(
    ("means", "proven", "ruled_out"),
    [
        ([1.0, 3, 5, 7], "increasing", ("decreasing",)),
        ([7.0, 5, 3, 1], "decreasing", ("increasing",)),
        ([1.0, 5, 3, 7], None, ("increasing", "decreasing")),
        ([2.0, 2, 2, 2], None, ()),
    ],
)
def test_a_trend_is_monotonic_only_where_every_step_is_proven(
    means: list[float], proven: str | None, ruled_out: tuple[str, ...]
) -> None:
    trend = find_trend(_draws(means))
    assert trend is not None
    assert (trend.proven, trend.ruled_out) == (proven, ruled_out)


def test_a_slope_is_the_least_squares_change_per_step() -> None:
    draws = _draws([1.0, 3, 5, 7])
    found = draws.slope()
    assert found.value == pytest.approx(np.polyfit(range(4), draws.means, 1)[0])
    assert found.low < found.value < found.high


def test_ranks_say_which_places_the_resamples_take() -> None:
    ranks = find_ranks(_draws([1.0, 5, 5, 9]), ["a", "b", "c", "d"])
    assert ranks is not None
    assert [ranks[name].place for name in "ad"] == [4, 1]
    assert str(ranks["d"]) == "1 of 4 [1, 1]"
    assert (ranks["b"].low, ranks["b"].high) == (2, 3)

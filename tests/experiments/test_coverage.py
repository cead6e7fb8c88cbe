"""Coverage: counts from files, an end that is honest, and missingness that depends on a factor."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from nightlab.experiments.cells import cells
from nightlab.experiments.coverage import chi_square_tail, coverage
from nightlab.experiments.freeze import freeze
from nightlab.experiments.samples import Samples

from .conftest import Study

CLOCK = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def test_the_tail_of_chi_square_is_that_of_tables() -> None:
    for statistic, df, p in ((3.841, 1, 0.05), (5.991, 2, 0.05), (18.307, 10, 0.05), (15.086, 5, 0.01)):
        assert chi_square_tail(statistic, df) == pytest.approx(p, abs=0.003)


def test_it_says_what_lacks_and_on_which_factor_that_depends(study: Study) -> None:
    study.config["factors"]["replicates"] = 6
    plan = study.write().plan()
    freeze(plan)
    samples = Samples(plan.folder)
    planned = cells(plan)
    for number, cell in enumerate(planned):
        if cell.replicate == 5:
            continue  # never attempted: that is no bias yet
        if cell.prompt == "poem" and cell.model == "qwen":
            samples.failed.append({"key": cell.key, "class": "timeout"})
        else:
            moment = CLOCK - timedelta(seconds=(len(planned) - number) / 10)
            samples.append({"key": cell.key, "model": cell.model, "t": moment.isoformat()})
    samples.close()
    found = coverage(plan, CLOCK)
    assert (found.planned, found.answered, found.attempted) == (216, 150, 180)
    assert found.levels["prompt"]["poem"] == (30, 72)
    assert found.grid["qwen", "base"] == (10, 18)
    assert {test.factor for test in found.missingness if test.suspicious} == {"model", "prompt", "category"}
    assert found.failures == {"timeout": 30}
    assert found.seconds_left is not None
    low, high = found.seconds_left
    assert low < 66 / found.per_second < high
    text = found.text()
    assert "150 of 216 cells answered" in text
    assert "depends on the prompt (chi-square" in text
    assert "least at poem, 30 of 72" in text
    assert json.dumps(found.document())
    idle = coverage(plan, CLOCK + timedelta(minutes=5))
    assert idle.seconds_left is None
    assert "no end can be reckoned" in idle.text()

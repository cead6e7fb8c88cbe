"""Agreement: against published values, and what happens where it cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nightlab.evidence.analyze import analyze, analyze_again
from nightlab.evidence.report import compile_report
from nightlab.judging.agreement import alpha, icc, icc_forms
from nightlab.judging.log import LOG
from nightlab.judging.reliability import drift, reliability
from nightlab.testing import FakeMessagesAPI, judging

from .conftest import Answered
from .reading import MODEL, good, judged, right, two_dozen

SHROUT_FLEISS = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], dtype=float)
"""Shrout & Fleiss (1979), table 2: four judges, six targets."""
N = np.nan
KRIPPENDORFF = np.array(
    [
        [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
        [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
        [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
    ]
)
"""The example of the library's and of Wikipedia's article: interval alpha is 0.811."""


def test_the_intraclass_correlations_are_the_published_ones() -> None:
    forms = {name: round(value, 2) for name, value in icc_forms(SHROUT_FLEISS).items()}
    assert forms == {"ICC(1,1)": 0.17, "ICC(2,1)": 0.29, "ICC(3,1)": 0.71}
    found = icc(SHROUT_FLEISS)
    assert found is not None
    assert found.low <= found.value <= found.high
    assert found.items == 6


def test_alpha_is_the_published_one_and_takes_missing_scores() -> None:
    found = alpha(KRIPPENDORFF)
    assert found is not None
    assert found.value == pytest.approx(0.811, abs=0.001)
    assert found.low < found.value < found.high <= 1.0
    assert found.items == 12


def test_what_cannot_be_measured_is_none() -> None:
    assert alpha(np.array([[5.0] * 9, [5.0] * 9])) is None
    assert icc(np.array([[5.0] * 9, [5.0] * 9])) is None
    assert alpha(np.array([[1.0, 2.0], [1.0, 2.0]])) is None
    assert alpha(np.array([[1.0, 2.0, 3.0]])) is None


async def test_a_judge_is_measured_against_itself_others_and_gold(tmp_path: Path) -> None:
    study = two_dozen(tmp_path / "exp_001_joy", repeats=2)
    with FakeMessagesAPI(good(study)) as api:
        await judged(study, api)
    score = right(study)
    with FakeMessagesAPI(judging(lambda p: {"joy": min(10, score(p)["joy"] + 1), "gloom": score(p)["gloom"]})) as api:
        await judged(study, api, role="second", name="another")
    found = reliability(study.folder, resamples=50)
    joy, gloom = found.trust["joy"], found.trust["gloom"]
    assert joy.retest is not None
    assert (joy.retest.value, joy.retest.items) == (1.0, 24)
    assert joy.between is not None
    assert joy.between_icc is not None
    assert 0.8 < joy.between.value < 1.0
    assert 0.8 < joy.between_icc.value < 1.0
    assert gloom.between is not None
    assert gloom.between.value == 1.0
    assert joy.gold is not None
    assert (joy.gold.off, joy.gold.bias) == (0.0, 0.0)
    assert found.batches == 3
    assert joy.short.endswith("between judges")
    assert found.measured


async def test_a_judge_that_drifts_between_two_nights_is_seen_on_its_gold_items(tmp_path: Path) -> None:
    first, second = two_dozen(tmp_path / "exp_001_joy"), two_dozen(tmp_path / "exp_002_joy")
    await judge_with_shift(first, 0)
    await judge_with_shift(second, 1)
    log = first.folder / LOG
    log.write_text("".join(_earlier(line) for line in log.read_text().splitlines()))
    found = {one.dimension: one for one in drift([first.folder, second.folder])}
    assert found["joy"].change == pytest.approx(0.8)
    assert found["joy"].certain
    assert not found["gloom"].certain
    assert drift([first.folder]) == []


@pytest.mark.slow
async def test_drift_stands_in_the_report_and_in_its_snapshot(tmp_path: Path) -> None:
    first, second = two_dozen(tmp_path / "exp_001_joy"), two_dozen(tmp_path / "exp_002_joy")
    await judge_with_shift(first, 0)
    await judge_with_shift(second, 1)
    log = first.folder / LOG
    log.write_text("".join(_earlier(line) for line in log.read_text().splitlines()))
    analysis = analyze(second.folder, resamples=50, folders=[first.folder])
    report = compile_report(second.folder, analysis).read_text()
    assert "| `joy` | 2026-01-02 |" in report
    assert "+0.80 \\[" in report
    assert ", drifted | 5 |" in report
    [told] = [text for text in analysis.caveats if "drifted" in text]
    assert told.startswith(f"{MODEL} drifted on joy between 2026-01-02 and ")
    log.unlink()
    assert analyze_again(second.folder, tmp_path / "again", pictures=False).context.drift == analysis.context.drift
    assert analyze(second.folder, resamples=50, folders=[first.folder]).context.drift == ()


async def judge_with_shift(study: Answered, shift: float) -> None:
    """Judge by a good judge whose joy is off by so much."""
    score = right(study)

    def shifted(packet: object) -> dict[str, float]:
        joy = float(score(packet)["joy"])  # type: ignore[arg-type]
        return {"joy": joy + (shift if joy < 10 else 0), "gloom": float(score(packet)["gloom"])}  # type: ignore[arg-type]

    with FakeMessagesAPI(judging(shifted)) as api:
        await judged(study, api)


def _earlier(line: str) -> str:
    row = json.loads(line)
    return json.dumps(row | {"t": "2026-01-02T03:04:05.678Z"}) + "\n"

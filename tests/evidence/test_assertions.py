"""Claims that cannot both hold are found by what they assert, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from nightlab.evidence.analyze import analysed_without, analyze
from nightlab.evidence.assertions import contradictions
from nightlab.evidence.reproduce import rebuild

from .conftest import TRUTH, Make

FLAT = {"llama": [0.3, 8.5, 1.0, 2.0, 6.5, 0.5, 0.3]}
PEAK = {"kind": "peak", "dimension": "sarcasm", "model": "llama", "expect": "layers_0_20"}
MIDDLE = PEAK | {"expect": "layers_40_60"}


def _hypothesis(prediction: dict[str, Any]) -> dict[str, Any]:
    return {"id": "H1", "statement": "so it is", "prediction": prediction}


def _rows(make: Make, servers: Any, name: str, truth: list[float], prediction: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims of an experiment with one hypothesis, as claims.yaml holds them."""
    model = prediction.get("model", "llama")
    made = make(name, truth={model: truth}, noise=0.3, hypotheses=[_hypothesis(prediction)])
    _, claims = analysed_without(made.folder, servers, None, 400)
    assert len(claims) == 1
    return [claim.document() for claim in claims]


SARCASTIC = {"model": "llama", "condition": "sarcasm_full"}
BASE = {"model": "llama", "condition": "base"}
CASES = [
    # the same prediction, supported once and contradicted once
    (PEAK, FLAT["llama"], PEAK, True),
    # two peaks in two places
    (PEAK, FLAT["llama"], MIDDLE, True),
    # the same peak again
    (PEAK, TRUTH["llama"], PEAK, False),
    # an early peak and late layers that do nothing
    (
        PEAK,
        TRUTH["llama"],
        {"kind": "below", "dimension": "sarcasm", "where": {**SARCASTIC, "condition": "layers_80_100"}, "than": 1.5},
        False,
    ),
    # far above, and hardly above
    (
        {"kind": "greater", "dimension": "sarcasm", "left": SARCASTIC, "right": BASE, "by": 3.0},
        [0.3, 1.0, 1.0, 2.0, 6.5, 0.5, 0.3],
        {"kind": "greater", "dimension": "sarcasm", "left": SARCASTIC, "right": BASE, "by": 2.5},
        True,
    ),
    # a falling trend, and a peak at its end
    (
        {"kind": "trend", "dimension": "sarcasm", "model": "llama", "direction": "decreasing"},
        [0.3, 8.5, 1.0, 2.0, 3.0, 4.0, 8.0],
        PEAK | {"expect": "layers_80_100"},
        True,
    ),
]
FALLING = [0.3, 8.5, 8.5, 6.5, 4.5, 2.5, 0.5]


@pytest.mark.parametrize(("first", "truth", "second", "clashes"), CASES)
def test_contradictions_are_found(
    make: Make, servers: Any, first: dict[str, Any], truth: list[float], second: dict[str, Any], clashes: bool
) -> None:
    early = FALLING if first["kind"] == "trend" else TRUTH["llama"]
    one = _rows(make, servers, "exp_001_first", early, first)
    assert one[0]["verdict"] == "supported"
    two = _rows(make, servers, "exp_002_second", truth, second)
    found = contradictions(two, {"exp_001": one})
    assert [other.id for others in found.values() for other in others] == (["exp_001/c1"] if clashes else [])


@pytest.mark.slow
def test_a_contradiction_stands_side_by_side_in_the_report_and_is_rebuilt(make: Make, servers: Any) -> None:
    one = _rows(make, servers, "exp_001_first", TRUTH["llama"], PEAK)
    made = make("exp_002_second", truth=FLAT, hypotheses=[_hypothesis(MIDDLE)])
    analyze(made.folder, servers=servers, resamples=400, others={"exp_001": one})
    rebuild(made.folder)
    report = (made.folder / "report.md").read_text()
    assert "**Contradicts** `exp_001/c1` (n=45;" in report
    assert one[0]["sentence"] in report
    assert rebuild(made.folder) == []


@pytest.mark.parametrize("changed", [{"model": "gemma"}, {"dimension": "wit"}])
def test_other_models_and_dimensions_do_not_clash(make: Make, servers: Any, changed: dict[str, Any]) -> None:
    one = _rows(make, servers, "exp_001_first", TRUTH["llama"], PEAK)
    two = _rows(make, servers, "exp_002_second", FLAT["llama"], MIDDLE | changed)
    assert contradictions(two, {"exp_001": one}) == {}

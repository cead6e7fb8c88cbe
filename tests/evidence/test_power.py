"""A plan that cannot decide its question is said to be so before anything is asked, and one that can is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.evidence.power import (
    design_of,
    read_power,
    simulate_power,
    verdict_on_plan,
    write_power,
)
from nightlab.experiments.plan import Plan
from nightlab.experiments.schema import InOrder
from nightlab.lab import Lab, shipped

from .conftest import Make

RUBRIC = """\
---
name: r
version: 1
dimensions:
  sarcasm: {range: [0, 10], question: How, markers: [{pattern: a, points: 1}]}
---
"""
FULL = {"model": "llama", "condition": "sarcasm_full"}
BASE = {"model": "llama", "condition": "base"}
PEAK = {"kind": "peak", "dimension": "sarcasm", "model": "llama", "expect": "layers_0_20"}
KINDS: list[dict[str, Any]] = [
    PEAK,
    {"kind": "diffuse", "dimension": "sarcasm", "model": "llama", "max_spread": 2.0},
    {"kind": "greater", "dimension": "sarcasm", "left": FULL, "right": BASE, "by": 1.0},
    {"kind": "below", "dimension": "sarcasm", "where": FULL, "than": 5.0},
    {"kind": "same_peak", "dimension": "sarcasm", "models": ["llama", "gemma"]},
    {
        "kind": "trend",
        "dimension": "sarcasm",
        "model": "llama",
        "direction": "increasing",
        "among": ["base", "layers_0_20"],
    },
]


def _plan(make: Make, prediction: dict[str, Any], prompts: int = 9, **config: Any) -> Plan:
    hypothesis = {"id": "H1", "statement": "so it is", "prediction": prediction}
    truth = {name: [2.0] * 7 for name in ("llama", "gemma")}
    folder = make(truth=truth, prompts=prompts, hypotheses=[hypothesis], **config).folder
    (folder / "rubric.md").write_text(RUBRIC)
    return Plan.load(folder)


def _power(make: Make, prediction: dict[str, Any], prompts: int = 9, trials: int = 30, **config: Any) -> Any:
    return simulate_power(_plan(make, prediction, prompts, **config), trials)[0]


@pytest.mark.parametrize("prediction", KINDS, ids=lambda p: str(p["kind"]))
def test_a_large_effect_is_found_either_way_with_every_kind_of_prediction(
    make: Make, prediction: dict[str, Any]
) -> None:
    found = _power(make, prediction, expected={"effect": 3.0, "between": 0.5, "within": 0.5}, trials=20)
    assert found.decides, found.sentence()
    assert min(found.supported, found.contradicted) >= 0.9


def test_power_grows_with_prompts_and_noise_takes_it(make: Make) -> None:
    noisy = {"effect": 1.0, "between": 1.0, "within": 2.0}
    few, many = (_power(make, KINDS[2], prompts, 40, expected=noisy) for prompts in (6, 36))
    assert few.supported < many.supported
    assert not few.decides
    assert "more often stay undecided" in few.sentence()
    assert verdict_on_plan([few]).startswith("this plan cannot decide its question")
    assert verdict_on_plan([few, many]) == "this plan can hardly decide H1"


@pytest.mark.parametrize(
    ("prediction", "prompts", "why"),
    [
        ({"kind": "below", "dimension": "sarcasm", "where": FULL, "than": 0.0}, 9, "can never be supported"),
        ({"kind": "below", "dimension": "sarcasm", "where": FULL, "than": 99.0}, 9, "can never be contradicted"),
        ({"kind": "greater", "dimension": "sarcasm", "left": FULL, "right": BASE, "by": 12.0}, 9, "never be supported"),
        (
            {"kind": "greater", "dimension": "sarcasm", "left": {"model": "llama"}, "right": {"model": "gemma"}},
            9,
            "pools",
        ),
        (PEAK, 2, "has 2 prompts"),
    ],
)
def test_a_prediction_that_can_come_out_one_way_only_is_named(
    make: Make, prediction: dict[str, Any], prompts: int, why: str
) -> None:
    found = _power(make, prediction, prompts)
    assert not found.decides
    assert why in found.sentence()
    assert found.trials == 0


def test_power_is_that_of_a_hypothesis_among_the_others_of_its_plan(make: Make) -> None:
    plan = _plan(make, KINDS[2], expected={"effect": 2.0, "between": 1.0, "within": 2.0})
    one = plan.config.hypotheses[0]
    family = [one.model_copy(update={"id": f"H{number}"}) for number in range(1, 4)]
    many = replace(plan, config=plan.config.model_copy(update={"hypotheses": family}))
    ordered = plan.config.model_copy(
        update={"hypotheses": family, "multiplicity": InOrder(sequence=[h.id for h in family])}
    )
    alone, shared, first = (simulate_power(p, 20)[0] for p in (plan, many, replace(plan, config=ordered)))
    assert shared.supported < alone.supported == first.supported
    assert "tested at 1.7 %, its share in the family" in shared.sentence()
    assert "share" not in first.sentence()


def test_a_plan_without_hypotheses_is_said_to_predict_nothing() -> None:
    assert verdict_on_plan([]) == "nothing is predicted: whatever is found will be exploratory"


def test_what_was_simulated_stands_in_a_file_and_is_the_same_every_time(make: Make) -> None:
    plan = _plan(make, PEAK)
    first, again = (simulate_power(plan, 20) for _ in range(2))
    assert first == again
    write_power(plan.folder, first)
    told = read_power(plan.folder)
    assert told is not None
    assert told["hypotheses"][0]["said"] == first[0].sentence()
    assert len(design_of(plan).cells) == 2 * 7 * 9


def test_the_command_says_it_and_fails_where_the_plan_cannot_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    folder = tmp_path / "experiments" / "exp_001_phase1_replication"
    source = shipped("experiments") / folder.name
    folder.mkdir(parents=True)
    for path in [*source.glob("*.yaml"), *source.glob("*.md"), *source.glob("*/*.yaml")]:
        (folder / path.relative_to(source)).parent.mkdir(exist_ok=True)
        (folder / path.relative_to(source)).write_bytes(path.read_bytes())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["hypotheses"][0]["prediction"] = {
        "kind": "below",
        "dimension": "sarcasm",
        "where": {"model": "llama", "condition": "base"},
        "than": 0.0,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    monkeypatch.chdir(Lab.open(tmp_path).root)
    result = CliRunner().invoke(cli, ["plan", "check", "1", "--trials", "10", "--json"])
    assert result.exit_code == 1, result.output
    told = json.loads(result.output)
    assert "H1: it can never be supported" in told["power"][0]["said"]
    assert told["verdict"].startswith("this plan can")

"""A plan is read as a whole; every mistake in it is one sentence with the file, the key and the nearest valid one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.errors import AmplificationError, PlanError, UsageError
from nightlab.experiments.plan import Plan
from nightlab.experiments.schema import Exclusion

from .conftest import RANGES, Study


def refusal(study: Study, error: type[UsageError] = PlanError) -> str:
    """The sentence with which a plan is refused."""
    with pytest.raises(error) as caught:
        study.plan()
    text = str(caught.value)
    assert "Traceback" not in text
    assert "pydantic" not in text
    assert caught.value.exit_code == 2
    return text


def test_a_plan_knows_its_factors_in_canonical_order(study: Study) -> None:
    plan = study.plan()
    assert [model.name for model in plan.models] == ["llama", "qwen"]
    assert [condition.name for condition in plan.conditions] == ["base", *RANGES]
    assert [prompt.name for prompt in plan.prompts] == ["mondays", "poem", "raw"]
    assert (plan.name, plan.replicates, plan.serving.port) == ("exp_001_small", 1, 0)
    assert plan.rubric == study.folder / "rubric.md"
    assert plan.model("qwen").id == "lab/qwen"
    assert (plan.question, plan.stop.max_identical_failures, plan.exclude, plan.hypotheses) == (
        "Where does it sit?",
        5,
        [],
        [],
    )


def test_base_can_be_left_out(study: Study) -> None:
    study.config["factors"]["include_base"] = False
    assert [condition.name for condition in study.write().plan().conditions] == RANGES


def test_conditions_and_prompts_may_be_lists_relative_to_plan_or_lab(study: Study) -> None:
    shared = study.root / "shared"
    shared.mkdir()
    (study.folder / "conditions" / "layers_0_20.yaml").rename(shared / "first.yaml")
    study.config["factors"] |= {
        "conditions": ["shared/first.yaml", "conditions/layers_80_100.yaml"],
        "prompts": ["prompts/poem.yaml"],
    }
    plan = study.write(ranges=[]).plan()
    assert [condition.name for condition in plan.conditions] == ["base", "layers_0_20", "layers_80_100"]
    assert [prompt.name for prompt in plan.prompts] == ["poem"]


@pytest.mark.parametrize(
    ("where", "key", "near"),
    [
        ((), "sampilng", "sampling"),
        (("factors",), "prompt", "prompts"),
        (("sampling",), "max_token", "max_tokens"),
        (("serving",), "prot", "port"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest(
    study: Study, where: tuple[str, ...], key: str, near: str
) -> None:
    place = study.config
    for part in where:
        place = place.setdefault(part, {})
    place[key] = 1
    text = refusal(study.write())
    assert f"`{'.'.join([*where, key])}`" in text
    assert f"did you mean `{near}`" in text
    assert str(study.folder / "config.yaml") in text


def test_an_unknown_key_inside_a_list_and_a_union_is_named(study: Study) -> None:
    study.config["factors"]["models"][1]["adapter"] = {}
    assert "`factors.models[1].adapter`" in refusal(study.write())
    del study.config["factors"]["models"][1]["adapter"]
    prediction = {"kind": "peak", "dimension": "d", "model": "llama", "expct": "layers_0_20"}
    text = refusal(study.write(hypotheses=[{"id": "H1", "statement": "s", "prediction": prediction}]))
    assert "`hypotheses[0].prediction.expct`" in text
    assert "`expect`" in text
    assert "1 more" in text


def test_an_unknown_kind_of_prediction_names_the_nearest(study: Study) -> None:
    text = refusal(study.write(hypotheses=[{"id": "H1", "statement": "s", "prediction": {"kind": "peek"}}]))
    assert "'peek'" in text
    assert "`peak`" in text
    text = refusal(study.write(hypotheses=[{"id": "H1", "statement": "s", "prediction": {"dimension": "d"}}]))
    assert "needs a `kind`" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": None}, "`question` must be a text"),
        ({"kind": "smaple"}, "did you mean `sample`"),
        ({"sampling": {"temperature": -1}}, "`sampling.temperature` must be greater than or equal to 0"),
        ({"sampling": {"max_tokens": "many"}}, "`sampling.max_tokens`"),
        ({"sampling": {"temperature": float("nan")}}, "`sampling.temperature`"),
        ({"judge": {"by": "marker"}}, "did you mean `markers`"),
        ({"serving": {"port": 70000}}, "`serving.port`"),
        ({"ranges": ["layers_0_2"]}, "did you mean 'layers_0_20'"),
        ({"factors": {}}, "`factors.models` is missing"),
        ({"factors": {"models": []}}, "`factors.models` is empty"),
        ({"factors": 3}, "`factors` must be a mapping"),
    ],
)
def test_a_wrong_value_is_one_sentence(study: Study, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(study.write(**changes))


def test_malformed_yaml_names_file_and_line(study: Study) -> None:
    (study.folder / "config.yaml").write_text("question: a\nfactors: [\n")
    assert "config.yaml:" in refusal(study)
    (study.folder / "config.yaml").write_text("question: a\nquestion: b\n")
    text = refusal(study)
    assert "config.yaml:2" in text
    assert "twice" in text
    (study.folder / "config.yaml").write_text("- a\n")
    assert "must be a mapping" in refusal(study)
    (study.folder / "config.yaml").write_bytes(b"question: \xff\n")
    assert "UTF-8" in refusal(study)


def test_a_missing_plan_names_the_nearest_file(study: Study) -> None:
    (study.folder / "config.yaml").rename(study.folder / "config.yml")
    assert "did you mean config.yml" in refusal(study)


def test_an_empty_factor_is_refused(study: Study) -> None:
    for path in (study.folder / "conditions").iterdir():
        path.unlink()
    assert [condition.name for condition in study.write(ranges=[]).plan().conditions] == ["base"]
    study.config["factors"]["include_base"] = False
    assert "the factor `conditions` is empty" in refusal(study.write())
    study.config["factors"] |= {"include_base": True, "prompts": []}
    assert "the factor `prompts` is empty" in refusal(study.write())


def test_missing_condition_folders_and_double_names_are_refused(study: Study) -> None:
    study.config["factors"]["conditions"] = "condition"
    assert "did you mean conditions" in refusal(study.write())
    study.config["factors"]["conditions"] = "conditions"
    study.condition("extra", 0.5).write_text((study.folder / "conditions" / "layers_0_20.yaml").read_text())
    assert "two conditions are named 'layers_0_20'" in refusal(study.write(), AmplificationError)
    (study.folder / "conditions" / "extra.yaml").unlink()
    study.condition("base", 0.5)
    assert "include_base" in refusal(study, AmplificationError)
    study.config["factors"]["include_base"] = False
    assert "`base` is the model without an adapter" in refusal(study.write(), AmplificationError)


def test_a_condition_file_with_a_mistake_is_named(study: Study) -> None:
    (study.folder / "conditions" / "layers_0_20.yaml").write_text("name: x\nadapter: []\n")
    assert "layers_0_20.yaml" in refusal(study, AmplificationError)


def test_names_must_be_unique(study: Study) -> None:
    study.config["factors"]["models"][1]["name"] = "llama"
    assert "two models are named 'llama'" in refusal(study.write())
    study.config["factors"]["models"][1]["name"] = "qwen"
    prediction = {"kind": "below", "dimension": "d", "where": {"model": "llama"}, "than": 1}
    twice = [{"id": "H1", "statement": "s", "prediction": prediction}] * 2
    assert "two hypotheses have the id 'H1'" in refusal(study.write(hypotheses=twice))


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        ({"kind": "peak", "model": "lama", "expect": "layers_0_20"}, "did you mean 'llama'"),
        ({"kind": "peak", "model": "llama", "expect": "layers_0_02"}, "did you mean 'layers_0_20'"),
        ({"kind": "peak", "model": "llama", "expect": "base"}, "speaks of the range 'base'"),
        ({"kind": "diffuse", "model": "llama", "above": "bas"}, "did you mean 'base'"),
        ({"kind": "diffuse", "model": "llama", "among": ["layers_0_20"]}, "fewer than two ranges"),
        ({"kind": "greater", "left": {"category": "raw"}, "right": {"prompt": "pom"}}, "did you mean 'poem'"),
        ({"kind": "greater", "left": {"category": "ra"}, "right": {"prompt": "poem"}}, "the category 'ra'"),
        ({"kind": "greater", "left": {"modle": "llama"}, "right": {"prompt": "poem"}}, "did you mean `model`"),
        ({"kind": "below", "where": {"condition": "nothing"}, "than": 1}, "known here: base, layers_0_20"),
        ({"kind": "same_peak", "models": ["llama", "gwen"]}, "did you mean 'qwen'"),
    ],
)
def test_a_prediction_speaks_only_of_what_the_plan_has(study: Study, prediction: dict[str, Any], said: str) -> None:
    hypothesis = {"id": "H1", "statement": "s", "prediction": prediction | {"dimension": "sarcasm"}}
    assert said in refusal(study.write(hypotheses=[hypothesis]))


def test_ranges_are_needed_to_compare_ranges(study: Study) -> None:
    prediction = {"kind": "same_peak", "dimension": "d", "models": ["llama", "qwen"]}
    hypotheses = [{"id": "H1", "statement": "s", "prediction": prediction}]
    assert "under `ranges`" in refusal(study.write(ranges=[], hypotheses=hypotheses))


NO_RULES: list[object] = ["none", {}, {"none": "x"}, {"sequence": []}, {"sequence": [1]}, {"bonferroni": 1}, ["H1"]]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"sequence": ["H1", "H3"]}, "the hypothesis 'H3', which the plan does not have"),
        ({"sequence": ["H1"]}, "names H2 0 times, not once"),
        ({"sequence": ["H1", "H2", "H1"]}, "names H1 2 times, not once"),
        *((rule, "`multiplicity` must be holm, {sequence: [H2, H1, ...]} or {none: a sentence") for rule in NO_RULES),
    ],
)
def test_how_hypotheses_are_corrected_for_one_another_is_said_in_one_of_three_ways(
    study: Study, rule: object, said: str
) -> None:
    prediction = {"kind": "below", "dimension": "d", "where": {"model": "llama"}, "than": 1.0}
    hypotheses = [{"id": name, "statement": "s", "prediction": prediction} for name in ("H1", "H2")]
    assert said in refusal(study.write(hypotheses=hypotheses, multiplicity=rule))


def test_references_resolve_to_practice_plan_lab_or_absolute_paths(study: Study) -> None:
    plan = study.plan()
    assert plan.resolve("rubric.md") == study.folder / "rubric.md"
    assert plan.resolve("models/llama") == study.root / "models" / "llama"
    assert plan.resolve(str(study.root)) == study.root
    assert plan.resolve("practice:llama").name == "llama"
    with pytest.raises(PlanError, match="practice:lama"):
        plan.resolve("practice:lama")
    with pytest.raises(PlanError, match="did you mean 'llama'"):
        plan.model("lama")


def test_a_plan_outside_of_a_lab_stands_alone(study: Study) -> None:
    (study.root / "pyproject.toml").unlink()
    assert study.plan().root == study.folder


def test_an_exclusion_matches_all_of_its_fields() -> None:
    rule = Exclusion(finish_reason="length", model="llama")
    assert rule.matches({"finish_reason": "length", "model": "llama", "text": "x"})
    assert not rule.matches({"finish_reason": "length", "model": "qwen"})
    assert not Exclusion().matches({"model": "llama"})


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"model": "lama"}, "did you mean 'llama'?"),
        ({"category": "direkt", "finish_reason": "length"}, "did you mean 'direct'?"),
        ({"replicate": 1}, "speaks of replicate 1"),
        ({}, "names nothing to leave out"),
    ],
)
def test_an_exclusion_that_can_match_nothing_is_refused(study: Study, rule: dict[str, Any], said: str) -> None:
    text = refusal(study.write(exclude=[{"prompt": "poem"}, rule]))
    assert "`exclude[1]`" in text
    assert said in text


def test_the_shipped_experiment_can_be_read() -> None:
    plan = Plan.load(Path(__file__).parents[2] / "experiments" / "exp_001_phase1_replication")
    assert (len(plan.models), len(plan.conditions), len(plan.prompts)) == (3, 7, 9)
    assert [hypothesis.id for hypothesis in plan.hypotheses] == ["H1", "H2", "H3", "H4", "H5"]

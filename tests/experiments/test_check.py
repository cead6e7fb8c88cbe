"""The check before anything starts: what is missing or does not fit is found, with a remedy where there is no doubt."""

from __future__ import annotations

import shutil

import pytest
import yaml

from nightlab.errors import AdapterError, AmplificationError, NotSetUp, PlanError, RubricError
from nightlab.evidence.design import read_design
from nightlab.evidence.family import rule_in_words
from nightlab.experiments.change import apply
from nightlab.experiments.check import check, first_error
from nightlab.experiments.freeze import document, freeze
from nightlab.experiments.identity import treatments
from nightlab.experiments.lock import read_lock, write_lock
from nightlab.experiments.problem import Problem
from nightlab.files import sha256_json

from .conftest import LAYERS, Study


def problems(study: Study) -> list[Problem]:
    return check(study.plan())


def only(study: Study, code: str) -> Problem:
    """The one problem of a plan."""
    found = problems(study)
    assert [problem.code for problem in found] == [code]
    return found[0]


def test_a_sound_plan_has_no_problems(study: Study) -> None:
    assert problems(study) == []
    assert first_error([]) is None


def test_an_id_that_the_adapter_was_not_trained_on_has_a_remedy_that_works(study: Study) -> None:
    study.config["factors"]["models"][1]["id"] = "Qwen/other"
    problem = only(study.write(), "model_id_mismatch")
    assert problem.remedy == {"set": {"models.qwen.id": "lab/qwen"}}
    assert "Qwen/other" in problem.what
    assert "lab/qwen" in problem.what
    with pytest.raises(PlanError, match=r"set `models\.qwen\.id: lab/qwen`"):
        freeze(study.plan())
    assert check(apply(study.folder, problem.remedy["set"])) == []


def test_an_adapter_of_another_model_has_no_remedy(study: Study) -> None:
    study.adapter("qwen", "lab/llama")
    assert only(study, "adapter_of_another_model").remedy is None
    study.adapter("qwen", "lab/elsewhere", hidden=16)
    problem = only(study, "adapter_of_another_model")
    assert problem.remedy is None
    assert "does not fit" in problem.what
    with pytest.raises(AdapterError):
        freeze(study.plan())


def test_an_adapter_of_other_shapes_or_too_many_layers_does_not_fit(study: Study) -> None:
    study.adapter("qwen", "lab/qwen", hidden=16)
    assert "size 16" in only(study, "adapter_misfit").what
    study.adapter("qwen", "lab/qwen", layers=LAYERS + 1)
    assert f"layer {LAYERS}" in only(study, "adapter_misfit").what


def test_a_missing_model_is_named(study: Study) -> None:
    shutil.rmtree(study.root / "models" / "qwen")
    problem = only(study, "model_missing")
    assert "models/qwen" in problem.what
    assert problem.where.endswith("config.yaml")
    study.config["factors"]["models"][1] |= {"adapters": {}}
    del study.config["factors"]["models"][1]["path"]
    assert "lab/qwen" in only(study.write(), "model_missing").what


def test_the_id_of_a_practice_model_is_enough(study: Study) -> None:
    study.config["factors"]["models"] = [{"name": "m", "id": "nightlab/practice-llama"}]
    study.config["factors"]["conditions"] = []
    assert problems(study.write(ranges=[])) == []


def test_a_missing_adapter_is_named(study: Study) -> None:
    shutil.rmtree(study.root / "adapters" / "qwen")
    assert "is not at adapters/qwen" in only(study, "adapter_missing").what
    study.config["factors"]["models"][1]["adapters"] = {"persona_sarcasm/strong": "adapters/llama"}
    found = [problem for problem in problems(study.write()) if problem.code == "adapter_missing"]
    assert len(found) == 1
    assert "it has persona_sarcasm/strong" in found[0].what
    assert "organism_name" in str(found[0].hint)


def test_a_broken_adapter_is_named(study: Study) -> None:
    weights = study.root / "adapters" / "qwen" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    assert only(study, "adapter_broken").where.endswith("adapter_model.safetensors")


def test_a_variant_is_found_by_its_full_id_and_custom_ids_are_paths(study: Study) -> None:
    study.condition("layers_0_20", 0.5, variant="strong")
    study.condition("layers_20_40", 0.6, organism_name="custom", variant="adapters/llama")
    for model in study.config["factors"]["models"]:
        model["adapters"]["persona_sarcasm/strong"] = f"adapters/{model['name']}"
    found = problems(study.write())
    assert {problem.code for problem in found if problem.level == "error"} == {"adapter_of_another_model"}
    study.adapter("qwen", "lab/qwen")
    study.config["factors"]["models"].pop()
    assert {problem.code for problem in problems(study.write())} == {"range_name"}  # one layer is no fifth of them


def test_a_layer_out_of_range_is_named_for_each_model(study: Study) -> None:
    study.condition("layers_0_20", LAYERS, layer_amplifications=[{"layers": LAYERS, "module_amplifications": []}])
    found = problems(study)
    assert [problem.code for problem in found] == ["layer_out_of_range", "layer_out_of_range", "range_name"]
    assert f"there is no layer {LAYERS}" in found[0].what
    with pytest.raises(AmplificationError, match="1 more"):
        freeze(study.plan())


def test_two_adapters_in_one_condition_are_refused(study: Study) -> None:
    path = study.condition("layers_0_20", 0.5)
    more = "- {organism_name: custom, variant: adapters/llama, layer_amplifications: []}\n"
    path.write_text(path.read_text().replace("adapters:\n", f"adapters:\n{more}"))
    assert "several_adapters" in {problem.code for problem in problems(study)}


def test_suspicious_conditions_are_warnings_and_do_not_stop_the_freeze(study: Study) -> None:
    study.condition("layers_20_40", {"type": "range", "start": 0.0, "end": 0.2, "border": "exclusive"})
    study.condition("layers_40_60", {"type": "range", "start": 0.5, "end": 0.7})
    study.condition("layers_80_100", "all")
    found = problems(study)
    assert {problem.code for problem in found} == {"same_weights", "overlap", "flat_weights", "range_name"}
    said = [problem.what for problem in found if problem.code == "range_name"]
    assert said[0] == "the condition layers_20_40 acts in 0–20 %, not where its name says"
    assert {problem.level for problem in found} == {"warning"}
    assert first_error(found) is None
    assert freeze(study.plan()).cells == 36


def test_a_missing_rubric_is_an_error(study: Study) -> None:
    study.write(judge={"rubric": "rubrik.md"})
    assert "rubrik.md" in only(study, "rubric_missing").what


PEAK = {"kind": "peak", "dimension": "sarcsm", "model": "llama", "expect": "layers_0_20"}


def test_a_hypothesis_about_a_dimension_that_is_not_judged_is_found_before_the_freeze(study: Study) -> None:
    study.write(hypotheses=[{"id": "H1", "statement": "It is early.", "prediction": PEAK}])
    assert only(study, "dimension_unknown").hint == "did you mean 'sarcasm'?"
    with pytest.raises(PlanError, match=r"H1 speaks of the dimension 'sarcsm'"):
        freeze(study.plan())


def test_a_rubric_that_cannot_judge_is_found_before_the_freeze(study: Study) -> None:
    path = study.folder / "rubric.md"
    path.write_text(path.read_text().replace("{pattern: sure, points: 5}", ""))
    assert "no markers" in only(study, "rubric_broken").what
    path.write_text("---\nname: [\n---\n")
    assert f"{path}:" in only(study, "rubric_broken").where
    with pytest.raises(RubricError, match="malformed YAML"):
        freeze(study.plan())


def test_a_condition_without_an_adapter_is_refused(study: Study) -> None:
    (study.folder / "conditions" / "plain.yaml").write_text("name: plain\n")
    assert "names no adapter" in only(study, "no_adapter").what


def test_a_judge_that_cannot_be_asked_is_found_before_the_freeze(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    study.write(judge={"rubric": "rubric.md", "by": "claude"})
    assert [problem.code for problem in problems(study)] == ["judge_not_set_up", "few_gold"]
    with pytest.raises(NotSetUp, match="ANTHROPIC_API_KEY is not set"):
        freeze(study.plan())
    assert not (study.folder / "plan.lock.json").exists()
    study.write(judge={"rubric": "rubric.md", "second": {"by": "openai"}})
    assert [problem.code for problem in problems(study)] == ["judge_missing", "judge_not_set_up", "few_gold"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    study.write(judge={"rubric": "rubric.md", "by": "claude"})
    assert only(study, "few_gold").level == "warning"


def test_only_a_plan_that_is_frozen_may_leave_its_hypotheses_uncorrected_without_a_reason(study: Study) -> None:
    assert "`multiplicity: report` needs a reason" in only(study.write(multiplicity="report"), "no_reason").what
    with pytest.raises(PlanError, match=r"\{none: a sentence that says why\}"):
        freeze(study.plan())
    assert read_lock(study.folder) is None
    old = study.write(multiplicity="holm").plan()
    frozen = document(old, treatments(old))
    frozen["plan"]["multiplicity"] = "report"
    write_lock(study.folder, frozen)
    assert problems(study.write(multiplicity="report")) == []
    assert freeze(study.plan()).sha256 == sha256_json(frozen)
    assert "before a reason was asked for" in rule_in_words(read_design(study.folder).config)


def test_sentinels_that_a_constant_judge_may_pass_are_said(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    study.write(judge={"rubric": "rubric.md", "by": "claude"})

    def gold(**marks: tuple[int, str | None]) -> None:
        rows = [
            {"id": name, "question": "q", "answer": "a", "scores": {"sarcasm": score}, "sentinel": mark}
            for name, (score, mark) in marks.items()
        ]
        (study.folder / "gold.yaml").write_text(yaml.safe_dump({"gold": rows}))

    gold(low=(0, "base"), high=(4, "full"), other=(10, None))
    assert only(study, "near_sentinels").level == "warning"
    gold(low=(3, None), high=(7, None))
    assert "a constant judge may pass" in only(study, "near_sentinels").what
    gold(low=(0, "base"), high=(5, "full"))
    assert problems(study) == []
    gold(low=(0, "base"), some=(4, None), high=(10, None))
    assert problems(study) == []

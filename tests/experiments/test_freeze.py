"""The freeze: the hash comes before the data, twice is once, and a changed plan is refused with what changed."""

from __future__ import annotations

import json
import shutil

import pytest

from nightlab.errors import AdapterError, FrozenError, PlanError, RubricError
from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import deviations, freeze, verify
from nightlab.experiments.lock import LOCK, read_lock, write_lock

from .conftest import Study


def test_freezing_writes_the_plan_and_its_hash(study: Study) -> None:
    frozen = freeze(study.plan())
    assert frozen.path == study.folder / LOCK
    assert frozen.cells == len(cells(study.plan())) == 36
    lock = read_lock(study.folder)
    assert lock is not None
    assert lock.sha256 == frozen.sha256
    assert lock.document["plan"]["question"] == "Where does it sit?"
    assert "serving" not in lock.document["plan"]
    assert lock.document["treatments"]["models"]["llama"]["id"] == "lab/llama"


def test_freezing_again_changes_nothing(study: Study) -> None:
    first = freeze(study.plan())
    content = first.path.read_bytes()
    assert freeze(study.plan()) == first == verify(study.plan())
    assert first.path.read_bytes() == content


def test_what_cannot_run_is_not_frozen(study: Study) -> None:
    shutil.rmtree(study.root / "adapters" / "qwen")
    with pytest.raises(AdapterError, match="adapters/qwen"):
        freeze(study.plan())
    shutil.rmtree(study.root / "models" / "llama")
    with pytest.raises(PlanError, match="1 more"):
        freeze(study.plan())
    assert not (study.folder / LOCK).exists()


def test_an_unfrozen_plan_is_not_verified(study: Study) -> None:
    assert deviations(study.plan()) == []
    with pytest.raises(FrozenError, match="not frozen"):
        verify(study.plan())


def test_every_change_of_content_is_named(study: Study) -> None:
    freeze(study.plan())
    study.config["factors"]["replicates"] = 2
    study.write(sampling={"temperature": 0.1})
    study.prompt("mondays", {"category": "direct", "prompt_text": "What about Tuesdays?"})
    study.prompt("new", {"prompt_text": "New."})
    (study.folder / "prompts" / "poem.yaml").unlink()
    study.condition("layers_0_20", 0.5)
    (study.folder / "rubric.md").write_text("another")
    study.adapter("qwen", "lab/qwen", fill=3.0)
    changed = deviations(study.plan())
    for said in (
        "plan.factors.replicates was 1, is 2",
        "plan.sampling.temperature was 0.7, is 0.1",
        "prompts.mondays.messages[0].content was 'What do you think about Mondays?', is 'What about Tuesdays?'",
        "prompts.new was added",
        "prompts.poem was removed",
    ):
        assert said in changed
    for start in (
        "rubric was",
        "treatments.adapters.llama.layers_0_20 was",
        "treatments.adapters.qwen.layers_80_100 was",
    ):
        assert any(text.startswith(start) for text in changed)
    with pytest.raises(FrozenError, match="no sample was taken yet"):
        freeze(study.plan())


def test_after_samples_only_a_new_experiment_helps(study: Study) -> None:
    freeze(study.plan())
    (study.folder / "samples.jsonl").write_text("{}\n")
    study.write(question="Another?")
    with pytest.raises(FrozenError, match="make a new experiment folder"):
        verify(study.plan())


def test_what_cannot_change_an_answer_is_no_change(study: Study) -> None:
    frozen = freeze(study.plan())
    study.write(serving={"port": 8000})
    config = study.folder / "config.yaml"
    config.write_text("# a comment\n" + config.read_text())
    assert verify(study.plan()) == frozen


def test_absent_weights_are_not_a_change_and_absent_ids_are(study: Study) -> None:
    freeze(study.plan())
    shutil.rmtree(study.root / "adapters")
    shutil.rmtree(study.root / "models")
    assert deviations(study.plan()) == []
    study.config["factors"]["models"][0]["id"] = "lab/other"
    assert any("llama.id was 'lab/llama'" in text for text in deviations(study.write().plan()))
    study.config["factors"]["models"].append({"name": "third", "id": "lab/third", "path": "nowhere"})
    assert "treatments.models.third was added" in deviations(study.write().plan())


def test_a_damaged_or_edited_lock_is_refused(study: Study) -> None:
    path = freeze(study.plan()).path
    data = json.loads(path.read_text())
    data["document"]["plan"]["question"] = "Something else?"
    path.write_text(json.dumps(data))
    with pytest.raises(FrozenError, match="was edited"):
        verify(study.plan())
    path.write_text('{"sha256": 1}')
    with pytest.raises(FrozenError, match="cannot be read"):
        verify(study.plan())


def test_a_plan_without_its_rubric_is_not_frozen(study: Study) -> None:
    (study.folder / "rubric.md").unlink()
    with pytest.raises(RubricError, match="no rubric"):
        freeze(study.plan())


def test_a_plan_frozen_before_a_setting_existed_is_still_the_same(study: Study) -> None:
    plan = study.plan()
    freeze(plan)
    lock = read_lock(plan.folder)
    assert lock is not None
    judge = {"rubric": "rubric.md", "by": "markers", "repeats": 1}
    old = {**lock.document, "plan": {**lock.document["plan"], "judge": judge}}
    write_lock(plan.folder, old)
    assert deviations(plan) == []
    study.write(judge={"rubric": "rubric.md", "by": "markers", "repeats": 2})
    assert deviations(study.plan()) == ["plan.judge.repeats was 1, is 2"]


@pytest.mark.parametrize("said", [{"multiplicity": "report"}, {}])
def test_a_plan_frozen_under_another_default_of_multiplicity_is_still_the_same(
    study: Study, said: dict[str, str]
) -> None:
    plan = study.plan()
    freeze(plan)
    lock = read_lock(plan.folder)
    assert lock is not None
    others = {name: value for name, value in lock.document["plan"].items() if name != "multiplicity"}
    write_lock(plan.folder, lock.document | {"plan": others | said})
    assert verify(plan).cells == 36
    study.write(multiplicity="holm")
    assert [text[:19] for text in deviations(study.plan())] == ["plan.multiplicity w"]


def test_how_a_judge_is_reached_may_change_after_the_freeze(study: Study) -> None:
    freeze(study.plan())
    study.write(judge={"rubric": "rubric.md", "transport": "batch", "pilot_minutes": 0})
    assert deviations(study.plan()) == []

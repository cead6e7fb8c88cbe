"""Corrections before the freeze: one value changes, comments and layout stay, and a bad correction writes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.errors import FrozenError, PlanError
from nightlab.experiments.change import apply, set_value
from nightlab.experiments.freeze import freeze

from .conftest import Study

TEXT = """\
question: Why?   # the question
factors:
  models:
    - name: llama   # early
      id: lab/llama # right
      path: models/llama
      adapters: {persona_sarcasm: adapters/llama}
    - {name: qwen, id: "Qwen/wrong", path: models/qwen, adapters: {persona_sarcasm: adapters/qwen}}
sampling: {temperature: 0.7, seed: 1}
ranges: [layers_0_20, layers_20_40] # two
serving:
  port: 8000

# the end
"""


@pytest.fixture
def written(study: Study) -> Study:
    (study.folder / "config.yaml").write_text(TEXT)
    return study


def text(study: Study) -> str:
    return (study.folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("models.qwen.id", "lab/qwen", 'id: "Qwen/wrong"', "id: lab/qwen"),
        ("models.llama.id", "lab/new", "id: lab/llama #", "id: lab/new #"),
        ("factors.models.llama.path", "models/qwen", "path: models/llama", "path: models/qwen"),
        ("sampling.temperature", 0.1, "temperature: 0.7", "temperature: 0.1"),
        ("serving.port", 0, "port: 8000", "port: 0"),
        ("question", "Why: not, [x]?", "Why?   #", "'Why: not, [x]?'   #"),
        ("ranges", ["layers_0_20"], "[layers_0_20, layers_20_40] #", "[layers_0_20] #"),
    ],
)
def test_a_value_is_replaced_and_nothing_else(written: Study, key: str, value: object, old: str, new: str) -> None:
    apply(written.folder, {key: value})
    assert text(written) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("sampling.max_tokens", 5, ("sampling", "max_tokens")),
        ("serving.engine", "embedded", ("serving", "engine")),
        ("stop.max_identical_failures", 3, ("stop", "max_identical_failures")),
        ("models.llama.revision", "main", ("factors", "models", 0, "revision")),
        ("factors.replicates", 2, ("factors", "replicates")),
    ],
)
def test_a_missing_key_is_added_to_its_mapping(
    written: Study, key: str, value: object, path: tuple[str | int, ...]
) -> None:
    before = yaml.safe_load(TEXT)
    apply(written.folder, {key: value})
    after: Any = yaml.safe_load(text(written))
    place: Any = after
    for part in path[:-1]:
        place = place[part]
    assert place.pop(path[-1]) == value
    assert {name: part for name, part in after.items() if part} == before
    assert [line.split("#")[1] for line in text(written).splitlines() if "#" in line] == [
        line.split("#")[1] for line in TEXT.splitlines() if "#" in line
    ]


def test_several_changes_at_once_and_the_new_plan_comes_back(written: Study) -> None:
    plan = apply(written.folder, {"models.qwen.id": "lab/qwen", "serving.port": 0})
    assert (plan.model("qwen").id, plan.serving.port) == ("lab/qwen", 0)
    assert freeze(plan).cells == 36


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models.qwne.id": "x"}, "did you mean qwen"),
        ({"models.qwen.name.first": "x"}, "the plan has no `models.qwen.name.first`"),
        ({"samplng.seed": 3}, "unknown key `samplng`"),
        ({"sampling.temperature": -1}, "`sampling.temperature`"),
        ({"serving.port": 0, "ranges": ["nowhere"]}, "'nowhere'"),
    ],
)
def test_a_bad_change_writes_nothing(written: Study, changes: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        apply(written.folder, changes)
    assert text(written) == TEXT


def test_after_the_freeze_only_serving_changes(written: Study) -> None:
    freeze(apply(written.folder, {"models.qwen.id": "lab/qwen"}))
    before = text(written)
    with pytest.raises(FrozenError, match=r"`sampling\.seed` cannot change"):
        apply(written.folder, {"serving.port": 0, "sampling.seed": 2})
    assert text(written) == before
    assert apply(written.folder, {"serving.port": 0}).serving.port == 0


def test_names_with_dots_and_block_values_are_found(tmp_path: Path) -> None:
    where = tmp_path / "config.yaml"
    block = "factors:\n  models:\n    - name: qwen2.5\n      id: a\n  prompts:\n    - one\n    - two\nquestion: q\n"
    changed = set_value(block, "models.qwen2.5.id", "b, c", where)
    assert yaml.safe_load(changed)["factors"]["models"][0]["id"] == "b, c"
    changed = set_value(block, "factors.prompts", "prompts", where)
    assert yaml.safe_load(changed) == yaml.safe_load(block) | {
        "factors": {"models": [{"name": "qwen2.5", "id": "a"}], "prompts": "prompts"}
    }
    assert yaml.safe_load(set_value("question:\nkind: sample\n", "question", "q", where)) == {
        "question": "q",
        "kind": "sample",
    }
    with pytest.raises(PlanError, match="empty"):
        set_value("", "question", "q", where)
    with pytest.raises(PlanError, match="no `question`"):
        set_value("[a, b]", "question", "q", where)


@pytest.mark.parametrize(
    ("key", "value"),
    [("hypotheses", [{"id": "H9", "statement": "n: x"}]), ("factors.models", "models"), ("last", [2, "three"])],
)
def test_a_block_list_in_the_column_of_its_key_is_replaced_and_nothing_else(
    tmp_path: Path, key: str, value: object
) -> None:
    block = (
        "hypotheses:\n# which they are\n- id: H1\n  statement: s\n- id: H2\n\nfactors:\n  models: # of the lab\n"
        "  - name: a\n    id: x\n  - {name: b}\n  prompts: p\nlast:\n- 1\n"
    )
    changed = yaml.safe_load(set_value(block, key, value, tmp_path / "config.yaml"))
    wanted = yaml.safe_load(block)
    *above, last = key.split(".")
    (wanted[above[0]] if above else wanted)[last] = value
    assert changed == wanted

"""Cell keys: whatever could change an answer changes the key, nothing else does, and no two cells share one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.errors import FrozenError
from nightlab.experiments.cells import Cell, cells, ingredients, product, seed_of
from nightlab.experiments.freeze import freeze
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.plan import Condition, Plan
from nightlab.experiments.prompts import Prompt
from nightlab.experiments.schema import Config
from nightlab.files import sha256_json

from .conftest import Study

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("ab/_ -.", min_size=1, max_size=4)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}),
    min_size=1,
    max_size=3,
)
contents = st.one_of(
    st.builds(lambda m, mode: {"mode": mode, "messages": m}, messages, st.sampled_from(["chat", "continue"])),
    st.builds(lambda raw: {"mode": "raw", "raw": raw}, texts),
)
samplings = st.fixed_dictionaries(
    {
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.1, 1),
        "max_tokens": st.integers(1, 300),
        "stop": st.lists(texts, max_size=2),
    }
)
all_ingredients = st.builds(
    ingredients,
    st.builds(ModelIdentity, names, st.none() | names, st.none() | names),
    st.none() | names,
    st.builds(lambda content, sampling: content | sampling, contents, samplings),
    st.integers(0, 3),
    st.integers(0, 3),
)


def small(
    *, prompts: tuple[Prompt, ...] | None = None, conditions: tuple[str, ...] = ("base", "early"), **config: Any
) -> tuple[Plan, Treatments]:
    """A plan in memory, and its treatments: one model, two conditions, two prompts unless told otherwise."""
    factors = {"models": [{"name": "m", "id": "lab/m"}], "replicates": config.pop("replicates", 2)}
    data = {"question": "q", "factors": factors} | config
    asked = prompts or (
        Prompt("a", "x", "chat", ({"role": "user", "content": "one"},)),
        Prompt("b", "y", "raw", raw="two"),
    )
    named = tuple(Condition(name, None, None) for name in conditions)
    adapters = {name: None if name == "base" else f"sha of {name}" for name in conditions}
    plan = Plan(Path("/exp"), Path("/"), Config.model_validate(data), named, asked)
    return plan, Treatments({"m": ModelIdentity("lab/m", None, "w")}, {"m": adapters})


def keys(found: Sequence[Cell]) -> list[str]:
    return [cell.key for cell in found]


@given(all_ingredients, all_ingredients)
def test_keys_are_equal_exactly_when_the_ingredients_are(one: dict[str, object], other: dict[str, object]) -> None:
    assert (sha256_json(one)[:24] == sha256_json(other)[:24]) == (one == other)


@given(all_ingredients)
def test_a_seed_fits_31_bits(one: dict[str, object]) -> None:
    assert 0 <= seed_of(one) < 2**31


@given(
    st.lists(st.tuples(names, contents), min_size=1, max_size=4, unique_by=lambda pair: pair[0]),
    st.lists(names, min_size=1, max_size=3, unique=True),
    st.integers(1, 3),
)
def test_no_two_cells_of_a_plan_share_a_key(
    asked: list[tuple[str, dict[str, Any]]], conditions: list[str], replicates: int
) -> None:
    prompts = tuple(
        Prompt(name, "c", content["mode"], tuple(content.get("messages", ())), content.get("raw"))
        for name, content in asked
    )
    plan, treated = small(prompts=prompts, conditions=tuple(conditions), replicates=replicates)
    same = replace(treated, adapters={"m": dict.fromkeys(conditions, "one sha for all")})
    for identities in (treated, same):
        found = product(plan, identities)
        assert list(found.keys()) == keys(found)
        assert list(found) == [found[at] for at in range(len(found))]
        assert len(set(keys(found))) == len(found) == len(prompts) * len(conditions) * replicates


def changed_answers() -> dict[str, tuple[Plan, Treatments]]:
    """Plans that each differ from `small()` in one thing that could change every answer."""
    plan, treated = small()
    other = {
        f"sampling.{key}": small(sampling={key: value})
        for key, value in {"temperature": 0.1, "top_p": 0.5, "max_tokens": 7, "seed": 1, "stop": ["x"]}.items()
    }
    for name, identity in {
        "model.id": ModelIdentity("lab/n", None, "w"),
        "model.revision": ModelIdentity("lab/m", "main", "w"),
        "model.weights": ModelIdentity("lab/m", None, "v"),
    }.items():
        other[name] = (plan, replace(treated, models={"m": identity}))
    other["adapter"] = (plan, replace(treated, adapters={"m": {"base": "zero", "early": "other"}}))
    chats = {
        "text": ({"role": "user", "content": "One"},),
        "role": ({"role": "assistant", "content": "one"},),
        "system": ({"role": "system", "content": ""}, {"role": "user", "content": "one"}),
    }
    for name, chat in chats.items():
        other[f"messages.{name}"] = small(prompts=(Prompt("a", "x", "chat", chat), Prompt("b", "y", "raw", raw="Two")))
    swapped = (
        Prompt("a", "x", "continue", plan.prompts[0].messages),
        Prompt("b", "y", "chat", ({"role": "user", "content": "two"},)),
    )
    other["mode"] = small(prompts=swapped)
    return other


@pytest.mark.parametrize("change", sorted(changed_answers()))
def test_what_could_change_an_answer_changes_every_key_and_seed(change: str) -> None:
    before = product(*small())
    after = product(*changed_answers()[change])
    assert not set(keys(before)) & set(keys(after))
    assert bool({cell.seed for cell in before} & {cell.seed for cell in after}) == (change == "adapter")


def test_what_cannot_change_an_answer_changes_no_key() -> None:
    before = keys(product(*small()))
    plan, treated = small()
    renamed = tuple(replace(prompt, name=f"renamed {prompt.name}", category="other") for prompt in plan.prompts)
    prediction = {"kind": "below", "dimension": "d", "where": {"model": "m"}, "than": 1}
    same = [
        small(prompts=renamed),
        small(question="another", serving={"port": 8000}, judge={"repeats": 3}, stop={"max_identical_failures": 9}),
        small(hypotheses=[{"id": "H1", "statement": "s", "prediction": prediction}], exclude=[{"prompt": "a"}]),
        (replace(plan, folder=Path("/elsewhere")), treated),
    ]
    moved = Config.model_validate(
        {"question": "q", "factors": {"models": [{"name": "m", "id": "lab/m", "path": "/new"}], "replicates": 2}}
    )
    same.append((replace(plan, config=moved), treated))
    assert all(keys(product(*other)) == before for other in same)
    labels = product(replace(plan, conditions=(Condition("base", None, None), Condition("late", None, None))),
                     replace(treated, adapters={"m": {"base": None, "late": "sha of early"}}))  # fmt: skip
    assert keys(labels) == before
    assert {cell.condition for cell in labels} == {"base", "late"}


def test_more_replicates_prompts_or_conditions_keep_the_old_keys() -> None:
    before = set(keys(product(*small())))
    plan, _ = small()
    more = (*plan.prompts, Prompt("c", "z", "raw", raw="three"))
    grown = set(keys(product(*small(replicates=3, prompts=more, conditions=("base", "early", "late")))))
    assert before < grown


def test_cells_come_in_the_order_of_the_plan(study: Study) -> None:
    plan = study.plan()
    found = cells(plan)
    levels = [[m.name for m in plan.models], [c.name for c in plan.conditions], [p.name for p in plan.prompts]]
    assert [(cell.model, cell.condition, cell.prompt) for cell in found] == list(itertools.product(*levels))
    assert found[2].category == "raw"
    assert found[2].request["raw"] == "Once upon a time"
    assert found[0].model_id == "lab/llama"
    assert len(found[0].key) == 24


def test_a_seed_is_common_to_the_conditions_and_to_nothing_else(study: Study) -> None:
    study.config["factors"]["replicates"] = 3
    plan = study.write().plan()
    found = cells(plan)
    assert found == cells(plan)
    seeds: dict[int, set[tuple[str, str, int]]] = {}
    for cell in found:
        seeds.setdefault(cell.seed, set()).add((cell.model, cell.prompt, cell.replicate))
    assert len(seeds) * len(plan.conditions) == len(found)
    assert all(len(places) == 1 for places in seeds.values())


def test_weights_on_the_disk_are_part_of_the_key(study: Study) -> None:
    before = {(cell.model, cell.condition, cell.prompt): cell.key for cell in cells(study.plan())}
    study.adapter("llama", "lab/llama", fill=2.0)
    middle = {(cell.model, cell.condition, cell.prompt): cell.key for cell in cells(study.plan())}
    assert {name[:2] for name in before if before[name] != middle[name]} == {
        ("llama", condition.name) for condition in study.plan().conditions if condition.name != "base"
    }
    (study.root / "models" / "qwen" / "model.safetensors").write_bytes(b"other")
    after = {(cell.model, cell.condition, cell.prompt): cell.key for cell in cells(study.plan())}
    assert {name[0] for name in after if after[name] != middle[name]} == {"qwen"}


def test_a_rounding_of_ranges_that_gives_the_same_layers_keeps_the_key(study: Study) -> None:
    before = [cell.key for cell in cells(study.plan())]
    study.condition("layers_0_20", [0, 0.11])
    assert [cell.key for cell in cells(study.plan())] == before


def test_the_cells_of_a_frozen_plan_are_known_without_weights(study: Study) -> None:
    before = cells(study.plan())
    freeze(study.plan())
    for path in sorted((study.root / "models").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert cells(study.plan()) == before
    study.condition("new", 0.5)
    with pytest.raises(FrozenError, match="'new'"):
        cells(study.plan())

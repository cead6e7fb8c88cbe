"""Every way in which rows, servers or files can differ from the frozen plan is found by code; each fires here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import yaml

from nightlab.errors import FrozenError
from nightlab.evidence.context import collect, read_context
from nightlab.evidence.design import read_design
from nightlab.evidence.deviations import find_deviations
from nightlab.evidence.rows import read_rows
from nightlab.evidence.table import Table
from nightlab.experiments.lock import read_lock, write_lock
from nightlab.experiments.schema import OLD_REASON, Uncorrected

from .conftest import RUBRIC, Made, Make

Servers = list[dict[str, Any]]
FLOAT = {"engine": "vllm", "options": {"dtype": "float32", "max_model_len": 64}, "learned": {}, "extra": []}
VERSIONS = {"nightlab": "0.1.0", "vllm": "0.32.0"}


def served(servers: Servers, **changed: Any) -> Servers:
    """Manifests as they are today: every server ran alike, but for what is changed of the first."""
    now = [{**server, **FLOAT, "versions": VERSIONS} for server in servers]
    return [{**now[0], **changed}, *now[1:]]


def found(made: Made, servers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The deviations of an experiment."""
    return find_deviations(Table.from_experiment(made.write()), made.folder, servers)


def test_an_experiment_that_went_as_planned_has_none(make: Make, servers: Servers) -> None:
    made = make(serving={"engine": "vllm", "dtype": "float32"})
    assert found(made, served(servers)) == []
    assert found(make("exp_002_bare"), servers) == []


DECLARED = {"engine": "vllm", "dtype": "float32"}
SERVED: list[tuple[dict[str, Any], str]] = [
    ({"engine": "embedded"}, "63 answers come from a server with engine embedded; the frozen plan says vllm"),
    (
        {"learned": {"dtype": "bfloat16"}},
        "a server with dtype bfloat16; the frozen plan says float32",
    ),
    (
        {"options": {"max_model_len": 64}},
        "a server with dtype nothing; the frozen plan says float32",
    ),
    ({"extra": ["--quantization", "fp8"]}, "with extra --quantization fp8; the frozen plan says nothing"),
    ({"learned": {"enforce_eager": True}}, "with enforce_eager True; the frozen plan says nothing"),
]


@pytest.mark.parametrize(("changed", "said"), SERVED)
def test_a_server_that_ran_otherwise_than_frozen(
    make: Make, servers: Servers, changed: dict[str, Any], said: str
) -> None:
    (text,) = found(make(serving=DECLARED), served(servers, **changed))
    assert text.startswith("serving: llama: ")
    assert said in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"engine": "embedded"}, "differ in engine: embedded (20 answers), vllm (43 answers)"),
        (
            {"versions": VERSIONS | {"vllm": "0.33.1"}},
            "differ in version of vllm: 0.33.1 (20 answers), 0.32.0 (43 answers)",
        ),
        ({"options": {"dtype": "float32", "max_model_len": 32}}, "differ in max_model_len: 32 (20 answers), 64 (43"),
    ],
)
def test_servers_of_a_model_that_differ_in_what_the_plan_leaves_open(
    make: Make, servers: Servers, changed: dict[str, Any], said: str
) -> None:
    made = make(serving={"dtype": "float32"})
    for row in made.samples[:20]:
        row["server"] = "srv-again"
    other = {**served(servers)[0], "id": "srv-again", **changed}
    (text,) = found(made, [other, *served(servers)])
    assert text.startswith("serving: llama: answers come from servers that")
    assert said in text


def test_serving_that_was_changed_in_the_plan_after_the_freeze(make: Make) -> None:
    made = make(serving=DECLARED)
    config = yaml.safe_load((made.folder / "config.yaml").read_text("utf-8"))
    config["serving"] |= {"dtype": "bfloat16", "port": 8000}
    (made.folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    assert found(made, []) == ["config.yaml since the freeze: serving.dtype was 'float32', is 'bfloat16'"]


def test_frozen_serving_that_was_edited_is_damage(make: Make) -> None:
    made = make(serving=DECLARED)
    path = made.folder / "plan.lock.json"
    content = json.loads(path.read_text("utf-8"))
    content["serving"]["declared"]["dtype"] = "bfloat16"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(FrozenError, match="the lock was edited"):
        read_lock(made.folder)


@pytest.mark.parametrize("said", [{"multiplicity": "report"}, {}])
def test_a_plan_of_before_holm_was_the_default_does_not_differ(make: Make, said: dict[str, str]) -> None:
    made = make()
    lock = read_lock(made.folder)
    assert lock is not None
    others = {name: value for name, value in lock.document["plan"].items() if name != "multiplicity"}
    write_lock(made.folder, lock.document | {"plan": others | said})
    assert found(made, []) == []
    assert read_design(made.folder).config.multiplicity == Uncorrected(none=OLD_REASON)


def test_judges_are_compared_with_the_frozen_one_where_the_plan_names_it(make: Make) -> None:
    made = make(judge={"by": "claude", "model": "claude-x"})
    assert found(made, []) == ["189 judgments were made by markers, not by the frozen claude-x"]
    nameless = make("exp_002_nameless", judge={"by": "openai"})
    assert found(nameless, []) == []
    nameless.judgments[0].update(judge="another")
    assert found(nameless, []) == ["judgments were made by 2 different judges: another (1), markers (188)"]


def test_a_lock_of_before_serving_was_kept_compares_the_servers_alone(make: Make, servers: Servers) -> None:
    made = make()
    path = made.folder / "plan.lock.json"
    content = json.loads(path.read_text("utf-8"))
    del content["serving"]
    path.write_text(json.dumps(content), "utf-8")
    made.samples[0]["server"] = "srv-again"
    other = {**served(servers)[0], "id": "srv-again", "learned": {"dtype": "bfloat16"}}
    assert found(made, [other, *served(servers)]) == [
        "serving: llama: answers come from servers that differ in dtype: bfloat16 (1 answers), float32 (62 answers)"
    ]


def _first(change: Callable[[dict[str, Any]], object]) -> Callable[[Made], object]:
    return lambda made: change(made.samples[0])


ROWS: list[tuple[Callable[[Made], object], str]] = [
    (_first(lambda row: row.update(seed=1)), "llama: 1 answers were sampled under another seed"),
    (
        _first(lambda row: row.update(messages=[{"role": "user", "content": "Say"}])),
        "llama: 1 answers were asked",
    ),
    (_first(lambda row: row.update(completion_tokens=65)), "llama: 1 answers are longer than the planned 64 tokens"),
    (_first(lambda row: row.update(model_id="other/x")), "llama: 1 answers say they are of other/x"),
    (
        lambda made: made.judgments[0].update(rubric="s" * 16),
        f"1 judgments were made under the rubric {'s' * 16}, not under the frozen {RUBRIC}",
    ),
    (
        lambda made: made.judgments[0].update(judge="another"),
        "1 judgments were made by another, not by the frozen markers",
    ),
]


@pytest.mark.parametrize(("change", "said"), ROWS)
def test_a_row_that_was_asked_or_judged_otherwise(make: Make, change: Callable[[Made], object], said: str) -> None:
    made = make()
    change(made)
    (text,) = found(made, [])
    assert text.startswith(said)


def test_what_servers_ran_with_is_kept_beside_the_report(make: Make, servers: Servers) -> None:
    made = make(serving=DECLARED)
    collect(read_design(made.folder), read_rows(made.folder), served(servers), [], None, 200).write(made.folder)
    kept = read_context(made.folder).servers
    assert kept is not None
    assert found(made, [{**kept[0], "engine": "embedded"}, *kept[1:]]) == [
        "serving: llama: 63 answers come from a server with engine embedded; the frozen plan says vllm"
    ]

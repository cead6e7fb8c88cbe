"""Amplification files: the diffing-toolkit's meaning, checked against a table, an independent reading and bad input."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.adapters.amplification import (
    Amplification,
    LayerWeights,
    condition_rows,
    flat_weights,
    overlaps,
    same_weights,
    warnings,
)
from nightlab.errors import AmplificationError

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TABLE = {
    32: [(0, 6), (6, 12), (12, 19), (19, 25), (25, 31)],
    28: [(0, 5), (5, 11), (11, 16), (16, 22), (22, 27)],
    34: [(0, 7), (7, 13), (13, 20), (20, 26), (26, 33)],
    26: [(0, 5), (5, 10), (10, 15), (15, 20), (20, 25)],
    10: [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9)],
}


def entry(layers: object, *modules: tuple[str, float], relative: bool = False) -> dict[str, Any]:
    parts = [{"modules": name, "weight": weight} for name, weight in modules]
    return {"layers": layers, "is_relative": relative, "module_amplifications": parts}


def condition(*entries: dict[str, Any], **adapter: Any) -> dict[str, Any]:
    named = {"organism_name": "persona_sarcasm"} | adapter
    return {"name": "c", "adapters": [named | {"layer_amplifications": list(entries)}]}


def resolve(data: object, layers: int) -> LayerWeights:
    return Amplification.parse(data, "c.yaml").single(layers)[1]


def only(start: float, end: float, border: str = "inclusive") -> dict[str, Any]:
    span = {"type": "range", "start": start, "end": end, "border": border}
    return condition(entry("all", ("all", 0.0)), entry(span, ("all", 1.0), relative=True))


@pytest.mark.parametrize("layers", TABLE)
def test_relative_ranges_are_the_reference_s(layers: int) -> None:
    for (start, end), (first, last) in zip(itertools.pairwise(FIFTHS), TABLE[layers], strict=True):
        weights = resolve(only(start, end), layers)
        assert weights.active() == frozenset(range(first, last + 1))
        assert weights.attention == weights.mlp


@given(st.integers(1, 200), st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_exclusive_borders_part_the_layers_and_miss_none(layers: int, inner: list[float]) -> None:
    cuts = sorted({0.0, 1.0, *inner})
    seen: list[int] = []
    for start, end in itertools.pairwise(cuts):
        if round(start * layers) < round(end * layers):
            seen += sorted(resolve(only(start, end, "exclusive"), layers).active())
        else:
            with pytest.raises(AmplificationError, match="covers none"):
                resolve(only(start, end, "exclusive"), layers)
    assert seen == list(range(layers))


def reference(entries: list[dict[str, Any]], layers: int) -> list[dict[str, float]]:
    """The diffing-toolkit's resolution, written again from its description with plain dicts."""
    table = [{"attention": 1.0, "mlp": 1.0} for _ in range(layers)]
    for item in entries:
        wanted, relative = item["layers"], item["is_relative"]
        if wanted == "all":
            chosen = list(range(layers))
        elif isinstance(wanted, dict):
            ends = [wanted["start"], wanted["end"]]
            first, last = [round(v * (layers - 1)) for v in ends] if relative else [int(v) for v in ends]
            chosen = [i for i in range(layers) if first <= i <= last]
        else:
            values = wanted if isinstance(wanted, list) else [wanted]
            chosen = [round(v * (layers - 1)) if relative else v for v in values]
        update = {"attention": 1.0, "mlp": 1.0}
        for module in item["module_amplifications"]:
            for name in ("attention", "mlp") if module["modules"] == "all" else (module["modules"],):
                update[name] = module["weight"]
        for layer in chosen:
            table[layer].update(update)
    return table


def entries_for(layers: int) -> st.SearchStrategy[dict[str, Any]]:
    weights = st.floats(-4, 4) | st.integers(-3, 3)
    modules = st.lists(st.tuples(st.sampled_from(["all", "attention", "mlp"]), weights), max_size=3)
    fraction, number = st.floats(0, 1), st.integers(0, layers - 1)

    def spans(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        pairs = st.tuples(values, values).map(sorted)
        return pairs.map(lambda p: {"type": "range", "start": p[0], "end": p[1]})

    def one(values: st.SearchStrategy[Any], relative: bool) -> st.SearchStrategy[dict[str, Any]]:
        wanted = st.just("all") | values | st.lists(values, min_size=1, max_size=4) | spans(values)
        return st.builds(lambda layers, m: entry(layers, *m, relative=relative), wanted, modules)

    return one(fraction, True) | one(number, False)


@given(st.data())
def test_resolution_equals_an_independent_reading(data: st.DataObject) -> None:
    layers = data.draw(st.integers(1, 40))
    entries = data.draw(st.lists(entries_for(layers), max_size=5))
    expected = reference(entries, layers)
    weights = resolve(condition(*entries), layers)
    assert weights.attention == tuple(row["attention"] for row in expected)
    assert weights.mlp == tuple(row["mlp"] for row in expected)


def test_a_later_entry_resets_the_part_it_does_not_name() -> None:
    weights = resolve(condition(entry("all", ("all", 0.0)), entry([1, 2], ("mlp", 3.0))), 4)
    assert weights == LayerWeights((0.0, 1.0, 1.0, 0.0), (0.0, 3.0, 3.0, 0.0))


def test_one_adapter_named_twice_is_one_and_custom_is_its_own_id() -> None:
    data = condition(entry(0, ("all", 0.0)), organism_name="custom", variant="someone/adapter/sub")
    data["adapters"].append(data["adapters"][0] | {"layer_amplifications": [entry(1, ("attention", 2.0))]})
    name, weights = Amplification.parse(data, "c.yaml").single(3)
    assert name == "someone/adapter/sub"
    assert weights == LayerWeights((0.0, 2.0, 1.0), (0.0, 1.0, 1.0))


def test_no_entries_leave_the_adapter_as_it_is() -> None:
    plain = {"name": "plain", "adapters": [{"organism_name": "persona_sarcasm", "variant": "is"}]}
    assert Amplification.parse(plain, "c.yaml").resolve(2) == {
        "persona_sarcasm/is": LayerWeights((1.0, 1.0), (1.0, 1.0))
    }


def test_several_adapters_resolve_and_are_refused_for_serving() -> None:
    data = {"name": "two", "adapters": [{"organism_name": "a"}, {"organism_name": "b"}]}
    amplification = Amplification.parse(data, "two.yaml")
    assert set(amplification.resolve(2)) == {"a/default", "b/default"}
    with pytest.raises(AmplificationError, match=r"names 2 adapters \(a/default, b/default\)"):
        amplification.single(2)
    with pytest.raises(AmplificationError, match="names no adapter"):
        Amplification.parse({"name": "none", "adapters": []}, "none.yaml").single(2)


def span(**changes: Any) -> dict[str, Any]:
    return {"type": "range", "start": 0.0, "end": 1.0} | changes


BAD = {
    "must be a mapping": [],
    "the key `name` is missing": {"adapters": []},
    "name: is empty": {"name": ""},
    "unknown key 'adapter'.*\n.*did you mean adapters": {"name": "c", "adapter": []},
    "adapters: must be a list": {"name": "c", "adapters": {}},
    r"adapters\[0\]: unknown key 'organism'.*\n.*organism_name": {"name": "c", "adapters": [{"organism": "x"}]},
    "variant: must name the adapter": condition(organism_name="custom"),
    "organism_name: must be text": condition(organism_name=3),
    "the key `layers` is missing": condition({"module_amplifications": []}),
    "is_relative: must be true or false": condition({"layers": "all", "is_relative": 1}),
    "unknown key 'module'": condition({"layers": "all", "module": []}),
    "the key `weight` is missing": condition({"layers": "all", "module_amplifications": [{"modules": "all"}]}),
    "modules: must be all, attention or mlp, not 'mpl'": condition(entry("all", ("mpl", 1.0))),
    "weight: must be a number, not '1e3'": condition(entry("all", ("all", "1e3"))),  # type: ignore[arg-type]
    "weight: must be a number, not True": condition(entry("all", ("all", True))),
    "weight: must be a finite number, not nan": condition(entry("all", ("all", float("nan")))),
    "weight: must be a finite number, not inf": condition(entry("all", ("all", 10**400))),
    "layers: must be all, a number, a list or a range, not 'al'": condition(entry("al", ("all", 1.0))),
    "is an empty list": condition(entry([], ("all", 1.0))),
    "must be a whole number, not 0.5": condition(entry(0.5, ("all", 1.0))),
    r"layers\[1\]: must not be negative": condition(entry([0, -1], ("all", 1.0))),
    "must lie between 0 and 1": condition(entry([1.5], ("all", 1.0), relative=True)),
    "type: must be range, not 'span'": condition(entry(span(type="span"), ("all", 1.0))),
    "the key `type` is missing": condition(entry({"start": 0, "end": 1}, ("all", 1.0))),
    "border: must be inclusive or exclusive": condition(entry(span(border="open"), ("all", 1.0))),
    "covers no layer: start 2, end 1": condition(entry(span(start=2, end=1), ("all", 1.0))),
    "covers no layer: start 1, end 1": condition(entry(span(start=1, border="exclusive"), ("all", 1.0))),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_input_is_one_sentence_with_the_file(reason: str) -> None:
    with pytest.raises(AmplificationError) as caught:
        Amplification.parse(BAD[reason], "c.yaml")
    assert caught.value.where == "c.yaml"
    assert caught.value.what.count("\n") == 0
    caught.match(rf"(?s){reason}".replace(".*\\n.*", ".*"))


def test_layers_beyond_the_model_name_its_count() -> None:
    for layers in (7, [0, 7], {"type": "range", "start": 2, "end": 7}):
        with pytest.raises(AmplificationError, match="no layer 7: the model has 4 layers") as caught:
            resolve(condition(entry(layers, ("all", 1.0))), 4)
        assert caught.value.where == "c.yaml: adapters[0].layer_amplifications[0].layers"
    with pytest.raises(AmplificationError, match="at least one layer"):
        resolve(condition(), 0)


def test_files_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "early.yaml"
    path.write_text(
        "name: early\ndescription: the first fifth\nadapters:\n- organism_name: persona_sarcasm\n"
        "  layer_amplifications:\n  - {layers: all, module_amplifications: [{modules: all, weight: 0}]}\n"
        "  - layers: {type: range, start: 0.0, end: 0.2, border: exclusive}\n    is_relative: true\n"
        "    module_amplifications: [{modules: all, weight: 1.0}]\n"
    )
    loaded = Amplification.load(path)
    assert (loaded.name, loaded.description) == ("early", "the first fifth")
    rows = condition_rows(loaded, 10)
    assert rows[1] == {"adapter": "persona_sarcasm/default", "layer": 1, "attention": 1.0, "mlp": 1.0}
    assert [row["mlp"] for row in rows] == [1.0, 1.0] + [0.0] * 8
    path.write_text("name: early\nadapters: [\n")
    with pytest.raises(AmplificationError, match=r"early\.yaml:3"):
        Amplification.load(path)


def test_suspicious_conditions_are_named() -> None:
    early, late = resolve(only(0.0, 0.5), 5), resolve(only(0.5, 1.0), 5)
    parted = resolve(only(0.5, 1.0, "exclusive"), 5)
    full = LayerWeights((1.0,) * 5, (1.0,) * 5)
    assert same_weights({"a": early, "b": early, "c": late}) == [
        "a and b resolve to the same weights: they are one condition"
    ]
    assert overlaps({"early": early, "late": late, "full": full}) == [
        "early and late share layer 2; `border: exclusive` parts them"
    ]
    assert overlaps({"early": resolve(only(0.0, 0.5, "exclusive"), 5), "late": parted}) == []
    assert "weight 1 in every layer" in flat_weights({"full": full, "early": early})[0]
    assert len(warnings({"early": early, "late": late, "full": full})) == 2

"""The table loses nothing: rows in are rows out or explained, or it does not come to be."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pytest

from nightlab.errors import ConservationError, FrozenError
from nightlab.evidence.columns import Keys
from nightlab.evidence.design import QueryError, read_design
from nightlab.evidence.table import EXCLUDED, INVALID, MISSING, SCORED, UNJUDGED, UNPROVEN, Table
from nightlab.files import JsonLines
from nightlab.judging.invalid import Selection, mark

from .conftest import Make


def test_a_whole_experiment_is_counted_as_a_whole(make: Make) -> None:
    table = Table.from_experiment(make().folder)
    assert (len(table.cells), table.answered(), table.count(SCORED)) == (189, 189, 189)
    assert table.dimensions == ("sarcasm", "wit")
    assert not table.reasons(MISSING, UNJUDGED, EXCLUDED, UNPROVEN)


def test_the_data_frame_holds_what_the_files_hold(make: Make) -> None:
    made = make()
    frame = Table.from_experiment(made.folder).df.set_index("key")
    for row in made.judgments:
        assert frame.loc[row["key"], "sarcasm"] == row["scores"]["sarcasm"]
    assert set(frame["model"]) == {"llama", "gemma", "qwen"}


def test_a_dropped_sample_with_a_judgment_raises(make: Make) -> None:
    made = make()
    lost = made.samples.pop(17)
    with pytest.raises(ConservationError, match=lost["key"]):
        Table.from_experiment(made.write())


def test_a_missing_answer_is_explained_by_its_failure_class(make: Make) -> None:
    made = make()
    lost = [made.samples.pop(0) for _ in range(3)]
    made.judgments = made.judgments[3:]
    failure = {"class": "timeout", "error": "…", "server": "srv-llama", "attempt": 1, "t": "2026-11-23T02:14:07.123Z"}
    made.failures = [{"key": lost[0]["key"], **failure}, {"key": lost[0]["key"], **failure, "class": "server_error"}]
    table = Table.from_experiment(made.write())
    assert table.reasons(MISSING) == {"never asked": 2, "server_error": 1}
    assert table.answered() + table.count(MISSING) == 189
    assert table.rows.failed_attempts == 2


@pytest.mark.parametrize("name", ["samples", "judgments"])
def test_a_doubled_row_raises_with_its_line(make: Make, name: str) -> None:
    made = make()
    rows = getattr(made, name)
    rows.append(dict(rows[5]))
    with pytest.raises(ConservationError, match="stands twice") as caught:
        Table.from_experiment(made.write())
    assert str(caught.value.where).endswith(f"{name}.jsonl:190")


def test_a_row_without_a_key_raises(make: Make) -> None:
    made = make()
    del made.samples[4]["key"]
    with pytest.raises(ConservationError, match="without `key`"):
        Table.from_experiment(made.write())


def test_a_swapped_label_raises(make: Make) -> None:
    made = make()
    made.samples[0]["condition"] = "sarcasm_full"
    with pytest.raises(ConservationError, match="the plan says 'base'"):
        Table.from_experiment(made.write())


@pytest.mark.parametrize("value", ["7", True, [7], float("inf")])
def test_a_score_that_is_no_number_raises_and_names_its_answer(make: Make, value: object) -> None:
    made = make()
    made.judgments[7]["scores"]["wit"] = value
    folder = made.folder
    (folder / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made.judgments))
    with pytest.raises(ConservationError, match="which is no number") as caught:
        Table.from_experiment(folder)
    assert made.judgments[7]["key"] in caught.value.what


def test_a_judgment_without_scores_raises(make: Make) -> None:
    made = make()
    made.judgments[0]["scores"] = None
    with pytest.raises(ConservationError, match="has no `scores`"):
        Table.from_experiment(made.write())


def test_a_label_that_is_no_name_raises_like_another_name(make: Make) -> None:
    made = make()
    made.samples[3]["model"] = ["llama"]
    with pytest.raises(ConservationError, match="the plan says 'llama'"):
        Table.from_experiment(made.write())


def test_a_key_that_is_no_text_raises_with_its_line(make: Make) -> None:
    made = make()
    made.samples[3]["key"] = {"a": 1}
    with pytest.raises(ConservationError, match="no text") as caught:
        Table.from_experiment(made.write())
    assert str(caught.value.where).endswith("samples.jsonl:4")


def test_keys_meet_by_their_whole_text_and_no_other_one() -> None:
    planned = Keys.of(["b" * 24, "a" * 24, "c" * 24])
    asked = ["c" * 24, "a" * 24 + "x", "a" * 23, "a" * 24 + "\0", "é" * 24, "b" * 24, ""]
    assert Keys.of(asked).places(planned).tolist() == [2, -1, -1, -1, -1, 0, -1]
    assert Keys.of(["a" * 24]).places(Keys.of([])).tolist() == [-1]
    assert Keys.of([]).places(planned).tolist() == []


def test_a_score_that_is_not_there_is_na_and_never_zero(make: Make) -> None:
    made = make()
    for row in made.judgments[:4]:
        row["scores"]["wit"] = None
    table = Table.from_experiment(made.write())
    assert table.not_available("wit") == 4
    assert table.not_available("sarcasm") == 0
    assert int(np.isnan(table.dimension("wit")).sum()) == 4
    where = {"model": "llama", "condition": "base"}
    assert table.means("wit", [where]).estimate(0).n == 5
    expected = np.mean([row["scores"]["wit"] for row in made.judgments[4:9]])
    assert table.means("wit", [where]).estimate(0).value == pytest.approx(expected)


def test_an_unjudged_answer_is_counted_as_such(make: Make) -> None:
    made = make()
    made.judgments = made.judgments[2:]
    table = Table.from_experiment(made.write())
    assert table.reasons(UNJUDGED) == {"not judged": 2}
    assert table.answered() == 189


def test_an_answer_that_was_not_planned_is_kept_apart(make: Make) -> None:
    made = make()
    made.samples.append({**made.samples[0], "key": "unplanned"})
    made.judgments.append({**made.judgments[0], "key": "unplanned"})
    table = Table.from_experiment(made.write())
    assert [row["key"] for row in table.unplanned] == ["unplanned"]
    assert table.answered() == 189


def test_exclusions_of_the_plan_are_applied_and_counted(make: Make) -> None:
    made = make(exclude=[{"finish_reason": "length"}, {"category": "direct", "model": "qwen"}])
    made.samples[0]["finish_reason"] = "length"
    table = Table.from_experiment(made.write())
    assert table.reasons(EXCLUDED) == {
        "excluded by plan: model = qwen, category = direct": 21,
        "excluded by plan: finish_reason = length": 1,
    }
    assert table.count(SCORED) == 189 - 22


def test_an_answer_counts_only_with_the_canary_of_its_server(make: Make, servers: list[dict[str, object]]) -> None:
    servers[2]["canary"] = {"passed": False, "checks": []}
    table = Table.from_experiment(make().folder, servers=servers)
    assert table.count(UNPROVEN) == table.count(UNPROVEN, model="qwen") == 63
    assert bool(np.isnan(table.dimension("sarcasm")[table.mask({"model": "qwen"})]).all())


def test_repeats_of_a_judge_are_averaged_within_the_cell(make: Make) -> None:
    made = make()
    made.judgments += [{**row, "repeat": 1, "scores": {"sarcasm": 10.0, "wit": None}} for row in made.judgments[:1]]
    table = Table.from_experiment(made.write())
    first = made.judgments[0]["scores"]
    assert table.dimension("sarcasm")[0] == pytest.approx((first["sarcasm"] + 10) / 2)
    assert table.dimension("wit")[0] == first["wit"]


def test_pooling_over_a_factor_must_be_declared(make: Make) -> None:
    table = Table.from_experiment(make().folder)
    with pytest.raises(QueryError, match="pools over model"):
        table.means("sarcasm", [{"condition": "base"}])
    declared = ("model", "prompt", "category", "replicate")
    assert table.means("sarcasm", [{"condition": "base"}], over=declared).estimate(0).n == 27
    with pytest.raises(QueryError, match="pools over condition"):
        table.by("model")
    groups = table.by("model", "condition")
    assert sum(len(group.cells) for group in groups.values()) == 189


def test_a_selection_is_a_table(make: Make) -> None:
    table = Table.from_experiment(make().folder).where(model="gemma", condition="layers_40_60")
    assert (len(table.cells), table.scores.shape) == (9, (9, 2))


@pytest.mark.parametrize(
    ("where", "hint"),
    [({"model": "lama"}, "llama"), ({"modle": "llama"}, "model"), ({"condition": "layers_0_2"}, "layers_0_20")],
)
def test_an_unknown_level_names_the_nearest(make: Make, where: dict[str, str], hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        Table.from_experiment(make().folder).mask(where)
    assert hint in str(caught.value.hint)


def test_an_experiment_without_a_frozen_plan_is_refused(make: Make) -> None:
    made = make()
    (made.folder / "plan.lock.json").unlink()
    with pytest.raises(FrozenError, match="not frozen"):
        Table.from_experiment(made.folder)


def test_the_planned_cells_follow_from_the_lock_alone(make: Make) -> None:
    made = make()
    (made.folder / "config.yaml").unlink()
    design = read_design(made.folder)
    assert [cell.key for cell in design.cells] == [cell.key for cell in made.cells]
    assert design.conditions[:2] == ("base", "sarcasm_full")


def test_a_lock_whose_cells_do_not_follow_from_it_is_refused(make: Make) -> None:
    from nightlab.experiments.lock import write_lock

    made = make()
    document = json.loads((made.folder / "plan.lock.json").read_text("utf-8"))["document"]
    document["plan"]["sampling"]["seed"] += 1
    write_lock(made.folder, document)
    with pytest.raises(FrozenError, match="do not follow"):
        read_design(made.folder)


def test_an_experiment_without_rows_is_all_missing(make: Make) -> None:
    made = make()
    made.samples, made.judgments = [], []
    table = Table.from_experiment(made.write())
    assert table.reasons(MISSING) == {"never asked": 189}
    assert table.dimensions == ()


@pytest.mark.slow
def test_ten_thousand_rows_take_less_than_a_second(make: Make) -> None:
    made = make(prompts=120, factors={"replicates": 4})
    assert len(made.samples) == 10080
    design = read_design(made.folder)
    start = time.process_time()
    table = Table.from_experiment(made.folder, design)
    assert time.process_time() - start < (1.0 if sys.gettrace() is None else 4.0)  # a coverage run is slower
    assert table.count(SCORED) == 10080


def test_rejected_judgments_and_those_of_a_second_judge_are_set_aside_and_counted(make: Make) -> None:
    made = make()
    kept, doubted = made.judgments[1:], made.judgments[0]
    zero = dict.fromkeys(doubted["scores"], 0.0)
    again = {**doubted, "batch": "b-2", "scores": dict.fromkeys(zero, 7.0)}
    first = {**doubted, "batch": "b-1", "scores": zero, "rejected": "the sentinels are in the wrong order"}
    other = {**doubted, "judge": "another", "role": "second", "scores": zero}
    made.judgments = [first, again, other, *kept]
    table = Table.from_experiment(made.write())
    assert table.rows.judgment_count == len(table.cells)
    assert [row["scores"] for row in table.rows.set_aside] == [zero, zero]
    assert table.scores[[cell.key for cell in table.cells].index(doubted["key"])].tolist() == [7.0, 7.0]


def test_marked_rows_are_explained_and_a_new_answer_counts_instead(make: Make) -> None:
    made = make()
    folder = made.folder
    hit = mark(folder, Selection(samples={"server": "srv-qwen"}), "stale adapter", "canary")
    assert (len(hit.samples), len(hit.judgments)) == (63, 63)
    table = Table.from_experiment(folder)
    assert table.reasons(INVALID) == {"invalidated: stale adapter": 63}
    assert table.count(SCORED) == 126
    assert bool(np.isnan(table.dimension("sarcasm")[table.mask({"model": "qwen"})]).all())
    again, judged = made.samples[-1], made.judgments[-1]
    JsonLines(folder / "samples.jsonl").append({**again, "server": "srv-new"})
    JsonLines(folder / "judgments.jsonl").append({**judged, "scores": {"sarcasm": 7.5, "wit": 1.0}})
    table = Table.from_experiment(folder)
    assert (table.count(INVALID), table.count(SCORED), table.dimension("sarcasm")[-1]) == (62, 127, 7.5)
    assert (len(table.rows.struck_samples), len(table.rows.struck_judgments)) == (63, 63)


def test_a_marked_judgment_leaves_its_answer_unjudged(make: Make) -> None:
    made = make()
    mark(made.folder, Selection(judgments={"key": made.cells[0].key}), "labels were visible", "audit")
    table = Table.from_experiment(made.folder)
    assert table.reasons(UNJUDGED) == {"not judged": 1}

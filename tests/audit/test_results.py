"""An unfamiliar folder: sound as it is, and every trouble that people made in such folders is found at its line."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlab.audit.finding import Finding, Report
from nightlab.audit.run import audit

from .conftest import Results, git

SEED = Path(__file__).parent / "data" / "seed_diary"


def errors(report: Report) -> list[Finding]:
    return [found for found in report.findings if found.level != "note"]


def test_sound_results_raise_no_alarm(results: Results) -> None:
    report = audit(results.root)
    assert errors(report) == []
    assert report.kind == "results"
    assert (report.seen["answers"], report.seen["scored rows"], report.seen["scripts"]) == (24, 24, 1)
    assert any("an arbitrary one would have passed" in found.what for found in report.findings)


def test_the_troubles_of_the_seed_diary_are_found() -> None:
    found = {(f.check, f.line): f for f in errors(audit(SEED))}
    lines = (SEED / "research_diary.md").read_text("utf-8").splitlines()

    def at(text: str) -> int:
        return next(number for number, line in enumerate(lines, 1) if text in line)

    assert "63/63" in found["counts", at("(n=64 samples)")].what
    assert "63/63" in found["counts", at("(n=42 samples)")].what
    assert "a year off" in found["dates", at("2025-01-27")].what
    assert "one case" in found["anecdote", at("Interesting finding")].what
    assert "8/9 prompts" in found["counts", at("5/6 prompts")].what
    assert ("absent", at("fig4_by_prompt_category.png")) in found


def _drop_scores(results: Results) -> None:
    results.scores = results.scores[:-3]
    results.write()


def _zero(results: Results) -> None:
    results.answers[5]["response"] = ""
    results.scores[5] |= {"sarcasm": 0, "wit": 0}
    results.write()


def _twice(results: Results) -> None:
    results.answers.append(results.answers[3])
    results.write()


def _pool(results: Results) -> None:
    results.table("by_condition.csv", [{"condition": "base", "mean_sarcasm": 0.65, "n": 8}])


def _shown(results: Results) -> None:
    rows = [{"batch": 1, "text": "Score this answer of llama under condition: layers_0_20 from 0 to 10."}]
    (results.root / "judge_inputs.json").write_text(json.dumps(rows), "utf-8")


def _stale(results: Results) -> None:
    os.utime(results.root / "figs" / "fig1.png", (900_000, 900_000))


def _nameless(results: Results) -> None:
    for name in ("llama_base_a", "llama_base_b", "llama_full_a", "gemma_base_a", "gemma_base_b", "gemma_layers_0_20_a"):
        (results.root / f"{name}.json").write_text(json.dumps({"comment": f"fine {name}"}), "utf-8")


def _odd(results: Results) -> None:
    for name in ("x_1", "x_2", "x_3", "y_1", "y_2", "y_2_b"):
        (results.root / f"{name}.json").write_text(json.dumps({"comment": "fine"}), "utf-8")


def _answers_by_name(results: Results) -> None:
    """Answers that say who they are by their names alone, as YAML with a block text; one of them was never scored."""
    (results.root / "answers").mkdir()
    for row in results.answers:
        name = "_".join(row[part] for part in ("model", "condition", "prompt"))
        text = f"prompt_text: Tell me about {row['prompt']}.\nresponse: |\n  {row['response']}\n"
        (results.root / "answers" / f"{name}.yaml").write_text(text, "utf-8")
    (results.root / "responses.jsonl").unlink()
    results.table("scores.csv", [row for row in results.scores if row["id"] != "gemma-base-rain"])


def _scored_twice(results: Results) -> None:
    rows = [{name: value for name, value in row.items() if name != "id"} for row in results.scores]
    results.table("scores.csv", [*rows, {**rows[3], "wit": 0.1}])


def _changed(name: str, old: str, new: str) -> Callable[[Results], None]:
    return lambda results: results.change(name, old, new)


TROUBLES: list[tuple[str, Callable[[Results], None], str, str]] = [
    ("a count", _changed("report.md", "n=12.", "n=14."), "report.md", "counts"),
    ("a count in a heading", _changed("report.md", "(n=12)", "(n=13)"), "report.md", "counts"),
    ("a number in a sentence", _changed("report.md", "is 7.4", "is 7.9"), "report.md", "numbers"),
    (
        "a number after a model's name",
        _changed("report.md", "Its mean", "For gemma overall 9.9. Its mean"),
        "report.md",
        "numbers",
    ),
    ("a number in a table", _changed("report.md", "| 3.1 |", "| 3.7 |"), "report.md", "numbers"),
    ("rows lost before the scores", _drop_scores, "responses.jsonl", "lost"),
    ("another n in a summary", _changed("summary.csv", ",4\n", ",5\n"), "summary.csv", "lost"),
    ("names that do not parse", _nameless, "llama_full_a.json", "lost"),
    ("names of another form", _odd, "y_2_b.json", "lost"),
    ("an answer by its name that has no score", _answers_by_name, "answers/gemma_base_rain.yaml", "lost"),
    ("scores twice without an id", _scored_twice, "scores.csv", "doubles"),
    ("a pooled table", _pool, "by_condition.csv", "pooled"),
    ("a pooled plot", _changed("plot.py", '["model", "condition"]', '"condition"'), "plot.py", "pooled"),
    ("labels shown to a judge", _shown, "judge_inputs.json", "judge-inputs"),
    ("an imputed zero", _zero, "scores.csv", "zeros"),
    ("holes filled", _changed("plot.py", ".mean()", ".mean().fillna(0)"), "plot.py", "zeros"),
    ("a doubled answer", _twice, "responses.jsonl", "doubles"),
    ("a figure that is not there", _changed("report.md", "figs/fig1.png", "figs/fig9.png"), "report.md", "absent"),
    ("a prompt that is not there", _changed("report.md", '"cats"', '"cats-and-dogs"'), "report.md", "absent"),
    ("entries out of order", _changed("diary.md", "2026-03-03", "2026-02-03"), "diary.md", "dates"),
    ("a date to come", _changed("diary.md", "2026-03-03", "2096-03-03"), "diary.md", "dates"),
    (
        "one case",
        _changed("diary.md", "We found no trouble.", "From one prompt: late layers contribute nothing."),
        "diary.md",
        "anecdote",
    ),
    ("a stale figure", _stale, "figs/fig1.png", "stale"),
    ("typed values in a plot", _changed("plot.py", "means)", "[0.5, 6.2, 3.1])"), "plot.py", "literals"),
    ("a word that is true", _changed("report.md", "## Gemma", "**Pattern**: monotonic decrease.\n\n## Gemma"), "", ""),
    (
        "a peak elsewhere",
        _changed("report.md", "## Gemma", "It peaks in layers 20-40.\n\n## Gemma"),
        "report.md",
        "words",
    ),
]


@pytest.mark.parametrize(("what", "trouble", "file", "check"), TROUBLES, ids=[row[0] for row in TROUBLES])
def test_each_trouble_is_found(
    results: Results, what: str, trouble: Callable[[Results], None], file: str, check: str
) -> None:
    trouble(results)
    found = {(one.file, one.check) for one in errors(audit(results.root))}
    assert (file, check) in found if check else not found, what


def _rated(results: Results) -> None:
    """A second rater, known by a number, scored two of them too."""
    rows = [{name: value for name, value in row.items() if name != "id"} for row in results.scores]
    first = [{**row, "rater": 1} for row in rows]
    results.table("scores.csv", [*first, *({**row, "rater": 2} for row in rows[:2])])
    (results.root / "summary.csv").unlink()


def _short_levels(results: Results) -> None:
    """Answers named by levels of which some have one or two letters: `a_no_tea.yaml`."""
    short = {"llama": "a", "gemma": "b", "layers_0_20": "full", "layers_20_40": "no"}
    for row in (*results.answers, *results.scores):
        row |= {part: short.get(row[part], row[part]) for part in ("model", "condition")}
        row["id"] = "-".join(row[part] for part in ("model", "condition", "prompt"))
    _answers_by_name(results)
    results.table("scores.csv", results.scores)
    for name in ("report.md", "summary.csv"):
        (results.root / name).unlink()


@pytest.mark.parametrize("change", [_rated, _short_levels])
def test_what_is_in_order_raises_no_alarm(results: Results, change: Callable[[Results], None]) -> None:
    change(results)
    assert [one for one in errors(audit(results.root)) if one.check in ("doubles", "lost")] == []


def test_names_of_another_form_are_a_guess(results: Results) -> None:
    _odd(results)
    assert [one.level for one in errors(audit(results.root)) if one.check == "lost"] == ["warning"]


def test_a_row_that_rises_is_not_monotonic(results: Results) -> None:
    results.change("report.md", "## Gemma", "Monotonic increase from early to late.\n\n## Gemma")
    [found] = errors(audit(results.root))
    assert "not monotonic: 6.2 is followed by 3.1" in found.what


def test_arbitrary_numbers_do_not_pass_where_the_sentence_names_its_rows(results: Results) -> None:
    """Numbers typed into a table's cell: what passes is what the rows give, and the finding says how rare that is."""
    random_ = random.Random(5)
    for _ in range(25):
        typed = f"{random_.uniform(0, 10):.1f}"
        if abs(float(typed) - 3.1) < 0.45:
            continue
        results.change("report.md", "| 3.1 |", f"| {typed} |")
        found = errors(audit(results.root))
        assert [one.check for one in found][:1] in (["numbers"], ["words"]), typed
        results.change("report.md", f"| {typed} |", "| 3.1 |")


def test_dates_are_held_against_git_and_so_are_figures(results: Results) -> None:
    whole = (results.root / "diary.md").read_text("utf-8")
    git(results.root, "init", "-q")
    for text, day in ((whole[: whole.index("## 2026-03-03")], "02"), (whole, "03")):
        (results.root / "diary.md").write_text(text, "utf-8")
        git(results.root, "add", "diary.md")
        git(results.root, "commit", "-qm", "entry", date=f"2026-03-{day}T12:00:00Z")
    assert errors(audit(results.root)) == []
    results.change("diary.md", "2026-03-02", "2026-02-20")
    git(results.root, "commit", "-qam", "later", date="2026-03-04T12:00:00Z")
    [found] = errors(audit(results.root))
    assert (found.check, found.line) == ("dates", 3)
    assert "git saw it written on 2026-03-04" in found.what


def test_what_cannot_be_read_is_said(results: Results) -> None:
    (results.root / "broken.json").write_text("{", "utf-8")
    (results.root / "odd.yaml").write_text("a: [", "utf-8")
    notes = {found.file for found in audit(results.root).findings if found.level == "note"}
    assert {"broken.json", "odd.yaml"} <= notes


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path) -> None:
    [found] = audit(tmp_path).findings
    assert (found.level, found.what) == ("warning", "there is nothing here that an audit reads: nothing was checked")

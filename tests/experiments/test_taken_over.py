"""Import: rows of three layouts, each accounted for; nothing overwritten; the table counts what came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from nightlab.errors import UsageError
from nightlab.evidence.report import compile_report
from nightlab.evidence.table import Table
from nightlab.experiments.samples import Samples
from nightlab.experiments.taken_over import import_folder
from nightlab.files import JsonLines


def tree(root: Path) -> None:
    """The layout of one YAML file per sample, with its links and debug files."""
    for prompt in ("mondays_1a2b", "poem_3c4d"):
        for config in ("base", "sarcasm_full"):
            place = root / "by_prompt" / prompt / config / "llama-8b"
            place.mkdir(parents=True)
            for number in range(2):
                path = place / f"12-00-0{number}-000000.yaml"
                path.write_text(yaml.safe_dump({"prompt": f"About {prompt}?", "completion": f"{config} {number}"}))
                path.with_name(path.stem + ".debug.yaml").write_text("raw: x\n")
                link = root / "by_config" / config
                link.mkdir(parents=True, exist_ok=True)
                (link / f"{prompt}-{number}.yaml").symlink_to(path)
    (root / "by_prompt" / "mondays_1a2b" / "base" / "llama-8b" / "bad.yaml").write_text("a: [unclosed\n")
    (root / "summary.yaml").write_text("total: 8\n")


def test_a_tree_of_yaml_files_becomes_an_experiment(tmp_path: Path) -> None:
    tree(tmp_path / "old")
    made = import_folder(tmp_path / "old", tmp_path / "experiments", "exp_007_old")
    assert (made.read, made.samples, made.judgments, made.unfit, made.links) == (25, 8, 0, 1, 16)
    assert "25 rows read = 8 samples + 0 judgments + 1 unfit + 16 links" in made.sentence()
    rows = list(Samples(made.folder).rows())
    assert {(row["model"], row["condition"]) for row in rows} == {("llama-8b", "base"), ("llama-8b", "sarcasm_full")}
    assert all(row["origin"]["imported"] and row["server"] == "imported" for row in rows)
    table = Table.from_experiment(made.folder)
    assert len(table.cells) == table.answered() == 8
    assert Table.from_experiment(made.folder, servers=[]).count("unproven") == 8
    report = compile_report(made.folder).read_text("utf-8")
    assert "Plan made from imported data 20" in report
    assert "Plan frozen" not in report
    with pytest.raises(UsageError, match="exists already"):
        import_folder(tmp_path / "old", tmp_path / "experiments", "exp_007_old")


def test_lines_and_tables_with_judgments_are_joined_and_what_does_not_fit_is_kept(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    lines = [
        {
            "id": "a",
            "model": "org/m1",
            "config": "warm",
            "messages": [{"role": "user", "content": "Hi"}],
            "output": "x",
        },
        {"id": "b", "model": "org/m1", "config": "cold", "prompt": "Hi", "output": "y"},
        {"id": "a", "scores": {"wit": 3, "edge": None}, "judge": "gpt"},
        {"id": "a", "scores": {"wit": 5}, "judge": "gpt"},
        {"id": "zz", "scores": {"wit": 1}},
        {"model": "org/m1", "prompt": "Hi"},
    ]
    (old / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    (old / "more.csv").write_text("id,model,condition,prompt,answer\nc,m2,warm,Hi,z\n,,,,\n")
    (old / "scores.csv").write_text("id,judge,score_wit\nc,me,7.5\n")
    made = import_folder(old, tmp_path / "experiments", "exp_008_rows")
    assert (made.read, made.samples, made.judgments, made.unfit) == (10, 3, 3, 4)
    unfit = [json.loads(line) for line in (made.folder / "unfit.jsonl").read_text().splitlines()]
    assert {row["why"].split(":")[0] for row in unfit} == {
        "scores of a sample that is not in the folder",
        "no answer",
        "no JSON",
    }
    table = Table.from_experiment(made.folder)
    assert table.count("scored") == 2
    mean = table.means("wit", [{"model": "m1", "condition": "warm"}]).means[0]
    assert mean == 4.0
    assert table.count("missing") == 1  # m2 was never asked under `cold`


TABLE = """\
id,model,config,prompt,answer,sarcasm,latency,comment
1,org/m1,warm,Hi,x,3,0.4,ok
2,other/m1,warm,Hi,y,4,0.5,
3,org/m1,,Hi,y2,4,0.5,
3,org/m1,cold,Hi,z,5,0.6,"a,b"
"""
ABOUT = "id;rater;wit;edge;latency\n1;me;3;4;9\n2;me;2;NA;9\n3;me;1;1;9\n9;me;1;1;9\n"
LONG = [
    {"id": "1", "judge": "gpt", "dimension": "tone", "score": "7", "why": "because"},
    {"id": "2", "judge": "gpt", "scores": {"tone": {"score": 6, "reason": "meh"}}},
    {"id": "4", "model": "m", "prompt": "p", "text": "q", "scores": {"tone": 3}},
    {"id": "5", "model": "m", "prompt": "p", "text": "q", "scores": {"mood": "warm"}},
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Scores in bare columns, one in each row, beside answers, and of nobody."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "a.csv").write_text(TABLE)
    (folder / "b.csv").write_text(ABOUT)
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LONG))
    (folder / "d.csv").write_text('model,prompt,text\nm,p,a, b\nm,p,"unclosed\n')
    (folder / "e.json").write_text("[]")
    return folder


def test_scores_become_judgments_wherever_they_stand_and_every_column_is_accounted_for(old: Path) -> None:
    made = import_folder(old, old.parent / "experiments", "exp_008_rows")
    assert (made.read, made.samples, made.judgments, made.scored, made.unfit) == (14, 6, 5, 1, 4)
    assert list(made.reasons) == [
        "scores of an id that several samples have",
        "scores of a sample that is not in the folder",
        "more fields than the table has columns: a comma in a text without quotes?",
        "no CSV from here to the end of the file: unexpected end of data",
    ]
    assert set(made.dimensions) == {"wit", "edge", "tone"}
    assert made.kept == {"sarcasm": 4, "latency": 8, "comment": 2, "scores": 1, "why": 1}
    assert (made.perhaps, made.nameless, made.not_read) == (("sarcasm",), {"condition": 3}, {".json": 1})
    assert any("--scores sarcasm" in line for line in made.lines())
    samples = {row["origin"]["from"]: row for row in Samples(made.folder).rows()}
    assert {row["model_id"]: row["model"] for row in samples.values()} == {"org/m1": "m1", "other/m1": "m1-2", "m": "m"}
    judged = list(JsonLines(made.folder / "judgments.jsonl").read())
    first = [row for row in judged if row["key"] == samples["a.csv:2"]["key"]]
    assert {row["judge"]: row["scores"] for row in first} == {"gpt": {"tone": 7.0}, "me": {"wit": 3.0, "edge": 4.0}}
    second = [row for row in judged if row["key"] == samples["a.csv:3"]["key"]]
    assert {row["judge"]: row["scores"] for row in second} == {"gpt": {"tone": 6.0}, "me": {"wit": 2.0, "edge": None}}
    assert [row["notes"]["imported"] for row in second] == [{"edge": "NA"}, {"tone": {"score": 6, "reason": "meh"}}]
    kept = json.dumps([*samples.values(), *judged])
    assert [value for value in ("0.4", "ok", "a,b", "because", "warm") if f'"{value}"' not in kept] == []


def test_columns_that_a_person_knows_as_scores_are_judgments_and_a_typing_error_is_told(old: Path) -> None:
    made = import_folder(old, old.parent / "experiments", "exp_008_rows", ["sarcasm"])
    assert (made.samples, made.judgments, made.scored, made.perhaps) == (6, 9, 5, ())
    table = Table.from_experiment(made.folder)
    assert table.means("sarcasm", [{"model": "m1", "condition": "warm"}]).means[0] == 3.0
    with pytest.raises(UsageError, match="no row has a column 'sarcasn'") as told:
        import_folder(old, old.parent / "experiments", "exp_009_rows", ["sarcasn"])
    assert told.value.hint == "did you mean sarcasm?"


def test_a_folder_without_samples_and_a_bad_name_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.jsonl").write_text('{"a": 1}\n')
    for source, name in ((tmp_path / "old", "exp_001_x"), (tmp_path / "gone", "exp_001_x"), (tmp_path / "old", "mine")):
        with pytest.raises(UsageError):
            import_folder(source, tmp_path / "experiments", name)
    assert not (tmp_path / "experiments").exists() or not list((tmp_path / "experiments").iterdir())


def test_bytes_that_are_no_text_are_not_taken_for_what_a_model_wrote(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "a.jsonl").write_bytes(
        b'{"model":"m","prompt":"p","text":"caf\xe9"}\n{"model":"m","prompt":"q","text":"b"}\n'
    )
    (old / "b.csv").write_bytes(b"\xef\xbb\xbfmodel,prompt,text\nm,r,caf\xe9\nm,s,caf\xc3\xa9\n")  # as Excel begins it
    made = import_folder(old, tmp_path / "experiments", "exp_009_bytes")
    assert (made.read, made.samples, made.reasons) == (4, 2, {"not UTF-8 text": 2})
    assert [row["text"] for row in Samples(made.folder).rows()] == ["b", "café"]
    assert {row["model"] for row in Samples(made.folder).rows()} == {"m"}
    with pytest.raises(UsageError, match="not a folder, but a file"):
        import_folder(old / "b.csv", tmp_path / "experiments", "exp_010_file")


def test_a_condition_is_the_control_only_where_it_says_so_or_says_nothing(tmp_path: Path) -> None:
    said: list[object] = ["base", "(base)", 0, "нежность", "", None, float("nan"), "adapter-0"]
    lines = [{"model": 0, "config": name, "prompt": "Hi", "text": f"{name}"} for name in said]
    old = tmp_path / "old"
    old.mkdir()
    (old / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = import_folder(old, tmp_path / "experiments", "exp_009_control")
    rows = list(Samples(made.folder).rows())
    named = ["base", "base-2", "0", "condition", "base", "base", "base", "adapter-0"]
    assert [row["condition"] for row in rows] == named
    assert {(row["model"], row["model_id"]) for row in rows} == {("0", "0")}
    assert made.nameless == {"condition": 3}
    (old / "a.jsonl").write_text(json.dumps(lines[1]) + "\n")
    made = import_folder(old, tmp_path / "experiments", "exp_010_treated")
    assert Table.from_experiment(made.folder).design.conditions == ("base-2",)


ODD_LINES = [
    '{"id":"a","model":"m","prompt":"p","text":"x","cost":NaN,"seen":1e999,"scores":{"wit":NaN,"2.edge":1%s,"tone":7}}'
    % ("0" * 400),
    '{"id":"b","model":"m","prompt":"p","text":"y","scores":{"C++":-Infinity,"2.edge":3}}',
    '{"model":"m","prompt":"p","text":NaN}',
    '{"model":"m","prompt":"half a \\ud83d","text":"z"}',
    '{"model":"m\\ud83d","prompt":"p","text":"z"}',
    '{"model":"m","prompt":"p","text":"half a \\ud83d"}',
    "[" * 100_000,
]
ODD_LEAVES = {
    "a": "{prompt: p, completion: x, on: 1, 2: y, cost: .nan, t0: 2024-01-02, scores: {wit: 3, at: 2024-01-02}}",
    "b": "{prompt: p, completions: [x, y], scores: {wit: 3}}",
    "c": "{prompt: p, completions: [x], scores: {wit: 4}}",
    "d": "{prompt: p, completion: x, t0: 2024-13-45}",
    "e": "{prompt: p, completion: x, 2024-01-02: y}",
    "f": "&f {prompt: p, completion: x, itself: *f}",
}


def test_values_that_json_cannot_hold_end_no_import_and_a_score_of_several_answers_is_of_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(ODD_LINES) + "\n")
    place = tmp_path / "by_prompt" / "p" / "warm" / "m"
    place.mkdir(parents=True)
    for name, text in ODD_LEAVES.items():
        (place / f"{name}.yaml").write_text(text)
    made = import_folder(tmp_path, tmp_path / "experiments", "exp_009_odd")
    assert (made.read, made.samples, made.judgments, made.unfit) == (14, 7, 4, 7)
    assert made.reasons["its prompt, model or category is no Unicode text"] == 2
    assert sorted(why.split(":")[0] for why in made.reasons) == [
        "its prompt, model or category is no Unicode text",
        "no JSON",
        *["no YAML"] * 3,
        "no answer",
    ]
    samples = {row["origin"]["from"]: row for row in Samples(made.folder).rows()}
    judged = {row["key"]: row for row in JsonLines(made.folder / "judgments.jsonl").read()}
    assert judged[samples["a.jsonl:1"]["key"]]["scores"] == {"wit": None, "d2-edge": None, "tone": 7.0}
    assert judged[samples["a.jsonl:2"]["key"]]["scores"] == {"d2-edge": 3.0}
    leaves = {name.partition("/m/")[2]: row for name, row in samples.items()}
    kept = leaves["a.yaml"]["origin"]["rest"]
    assert kept == {"true": 1, "2": "y", "t0": "2024-01-02"}
    assert leaves["b.yaml#0"]["key"] not in judged
    assert leaves["b.yaml#0"]["origin"]["rest"] == {"scores of several answers at once": {"wit": 3}}
    assert judged[leaves["c.yaml#0"]["key"]]["scores"] == {"wit": 4.0}

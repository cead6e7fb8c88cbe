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

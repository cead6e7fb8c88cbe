"""record.json: what a report was made from, told apart from what grew since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlab.audit.again import made_again
from nightlab.audit.finding import Finding
from nightlab.audit.recorded import against_record
from nightlab.errors import StorageError
from nightlab.evidence.analyze import analyze
from nightlab.evidence.record import read_record
from nightlab.evidence.report import compile_report
from nightlab.evidence.sandbox import ReportError
from nightlab.files import JsonLines

from .conftest import Make

Servers = list[dict[str, Any]]


def finished(folder: Path, servers: Servers) -> Path:
    compile_report(folder, analyze(folder, servers=servers, resamples=100))
    return folder


def found(folder: Path) -> list[Finding]:
    record = read_record(folder)
    assert record is not None
    again = made_again(folder, folder, record, pictures=False)
    return [*against_record(folder, folder, record), *again]


def test_rows_that_came_later_are_told_from_rows_that_were_changed(make: Make, servers: Servers) -> None:
    made = make(prompts=3)
    folder = finished(made.folder, servers)
    assert found(folder) == []
    failure = {"key": made.cells[0].key, "class": "timeout", "t": "2026-11-23T03:00:00Z"}
    JsonLines(folder / "judgments.jsonl").append({**made.judgments[0], "repeat": 1})
    assert next((one.check, one.level) for one in found(folder)) == ("record", "warning")
    made.failures = [failure]
    made.judgments[3]["scores"]["sarcasm"] = 0.0
    made.write()
    said = {(one.file, one.check, one.what.split(":")[0]) for one in found(folder)}
    assert ("judgments.jsonl", "record", "rows were changed") in said
    assert ("tables/means.csv", "made-again", "this is not what the rows give") in said


def test_a_finding_of_a_changed_line_says_both_sides(make: Make, servers: Servers) -> None:
    folder = finished(make(prompts=3).folder, servers)
    report = folder / "report.md"
    lines = report.read_text("utf-8").split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith("| `layers_0_20`"))
    before = lines[number]
    lines[number] = before.replace(".", ",", 1)
    report.write_text("\n".join(lines), "utf-8")
    [one] = [one for one in found(folder) if one.check == "made-again"]
    assert (one.file, one.line) == ("report.md", number + 1)
    assert lines[number][:60] in one.evidence
    assert before[:60] in one.evidence


def test_a_stale_figure_stops_the_report(make: Make, servers: Servers) -> None:
    folder = finished(make(prompts=3).folder, servers)
    analysis = analyze(folder, servers=servers, resamples=100)
    csv = folder / "figs" / "fig1_layers.csv"
    csv.write_text(csv.read_text("utf-8").replace("llama", "gemma"), "utf-8")
    with pytest.raises(ReportError, match="stale figure") as caught:
        compile_report(folder, analysis)
    assert caught.value.where == str(csv)


def test_a_damaged_record_is_named(make: Make, servers: Servers) -> None:
    folder = finished(make(prompts=3).folder, servers)
    (folder / "record.json").write_text("[]", "utf-8")
    with pytest.raises(StorageError, match="record"):
        read_record(folder)

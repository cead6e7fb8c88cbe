"""A night audits what it touched: what does not fit stands in its diary and its brief, and costs no wrap-up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from nightlab.agents import AgentSpec
from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.files import now
from nightlab.lab import Lab
from nightlab.morning.brief import brief_of, write_brief
from nightlab.night.auditing import audit_touched
from nightlab.night.reporting import analyze_experiment, report_experiment
from nightlab.night.wrapup import close_night, wrap_up
from nightlab.record.diary import Diary
from nightlab.record.state import ResearchState
from nightlab.toolbox import Toolbox, ToolContext
from tests.evidence.conftest import toy
from tests.tools.conftest import Handles, files

from .conftest import git, make_lab

NAME, NIGHT = "exp_001_toy", "20261124-010203"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with an experiment that was frozen, answered, reported and committed, in this order."""
    lab = make_lab(tmp_path_factory.mktemp("reported") / "lab", table="bootstrap = 200\n")
    made = toy(lab.experiments / NAME, prompts=3)
    for name in ("samples.jsonl", "judgments.jsonl"):
        (made.folder / name).unlink()
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "frozen")
    for row in (*made.samples, *made.judgments):
        row["t"] = now()
    made.write()
    analyze_experiment(lab, NAME)
    report_experiment(lab, NAME)
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "a night")
    return lab.root


@pytest.fixture
def lab(reported: Path, tmp_path: Path) -> Lab:
    """A copy of the lab, with a night that says it touched the experiment."""
    made = Lab.open(Path(shutil.copytree(reported, tmp_path / "lab", symlinks=True)))
    with_name = EventLog(made.night(NIGHT))
    with_name.emit("report", experiment=NAME, path=f"experiments/{NAME}/report.md")
    with_name.close()
    return made


def audits(events: EventLog) -> list[dict[str, Any]]:
    return [row for row in events.read() if row["kind"] == "audit"]


def test_a_sound_night_says_that_nothing_was_found(lab: Lab) -> None:
    events = EventLog(lab.night(NIGHT))
    assert wrap_up(lab, NIGHT, events, "finished", "the queue is done") == "finished"
    assert [(row["audited"], row["errors"], row["findings"]) for row in audits(events)] == [
        (NAME, 0, []),
        ("RESEARCH_STATE.md", 0, []),
    ]
    entry = Diary(lab.diary).entry(NIGHT)
    assert entry is not None
    assert f"Audited {NAME}: nothing found." in entry.sections["What I did"]
    assert entry.sections["Problems and fixes"] == "Nothing."
    assert brief_of(lab, NIGHT).troubles == ()


def test_what_does_not_fit_stands_in_diary_and_brief_with_file_and_line(lab: Lab) -> None:
    rows = lab.experiments / NAME / "judgments.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    lines[6] = lines[6].replace('"wit":', '"wit":1')
    rows.write_text("".join(lines))
    ResearchState(lab.state_file).set_findings([("exp_001/c7", "Everything is proven.")])
    events = EventLog(lab.night(NIGHT))
    assert wrap_up(lab, NIGHT, events, "finished", "the queue is done") == "finished"
    close_night(lab, NIGHT, write_brief)
    place = f"experiments/{NAME}/judgments.jsonl:7"
    problems = Diary(lab.diary).entry(NIGHT).sections["Problems and fixes"]  # type: ignore[union-attr]
    assert f"Audit: {place}: error: rows that git has" in problems
    assert "Audit: state/RESEARCH_STATE.md:" in problems
    assert "c7 is not there" in problems
    told = {trouble.where: trouble.what for trouble in brief_of(lab, NIGHT).troubles}
    assert told[f"audit of {NAME}"].startswith(f"1 finding: {place}: error: rows that git has")
    assert f"audit of {NAME}" in lab.brief.read_text()
    assert git(lab.root, "status", "--porcelain") == ""


def test_a_wrap_up_that_is_done_again_tells_its_last_audit_alone(lab: Lab) -> None:
    report = lab.experiments / NAME / "report.md"
    whole = report.read_text()
    report.write_text(whole.replace("llama", "lama", 1))
    events = EventLog(lab.night(NIGHT))
    audit_touched(lab, events)
    assert audits(events)[0]["errors"] == 1
    report.write_text(whole)
    assert wrap_up(lab, NIGHT, events, "finished", "the queue is done") == "finished"
    assert Diary(lab.diary).entry(NIGHT).sections["Problems and fixes"] == "Nothing."  # type: ignore[union-attr]
    assert brief_of(lab, NIGHT).troubles == ()


def test_what_cannot_be_audited_costs_neither_the_other_audits_nor_the_night(lab: Lab) -> None:
    lab.state_file.write_bytes(b"\xff\xfe")
    (lab.experiments / NAME / "judgments.jsonl").write_text('{"key": 1}\n' + "x" * 9 + "\n{}\n")
    events = EventLog(lab.night(NIGHT))
    ending = wrap_up(lab, NIGHT, events, "finished", "the queue is done")
    assert (ending, events.last("night_ended") is not None) == ("failed", True)  # its report could not be made, either
    [found] = audits(events)
    assert found["errors"] == 2
    assert f"experiments/{NAME}/judgments.jsonl:2: error: a damaged line [files]" in found["findings"]
    problems = Diary(lab.diary).entry(NIGHT).sections["Problems and fixes"]  # type: ignore[union-attr]
    assert "RESEARCH_STATE.md was not audited: not UTF-8 text" in problems
    assert "judgments.jsonl:2: error: a damaged line" in problems


async def test_an_agent_may_ask_for_the_audit_and_nothing_is_written(lab: Lab) -> None:
    report = lab.experiments / NAME / "report.md"
    report.write_text(report.read_text().replace("llama", "lama", 1))
    budget, agent = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits()), AgentSpec.load(lab, "scientist")
    context = ToolContext(lab, NIGHT, agent, EventLog(lab.night(NIGHT)), budget, Handles(), "toolu_1")
    before = files(lab)
    told = (await Toolbox.load(lab).call("audit", {"experiment": "exp_001"}, context)).data
    assert (told["sound"], told["counts"]) == (False, {"error": 1, "warning": 0, "note": 0})
    [found] = told["findings"]
    assert (found["file"], found["check"]) == ("report.md", "made-again")
    assert "the rows give: " in found["evidence"]
    assert found["line"] > 0
    assert files(lab) == before

"""The brief: true to the files, in a fixed order, on one screen, after every kind of end."""

import json
import subprocess
import sys

import pytest

from nightlab.events import EventLog
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.morning.brief import brief_of, write_brief
from nightlab.morning.inbox import open_questions
from nightlab.morning.text import columns_of
from nightlab.night.lock import LabLock
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention

ORDER = ["Needs you", "Found", "Failed", "Spent", "Next"]


def titles(text: str) -> list[str]:
    return [title for line in text.splitlines() for title in ORDER if line.startswith(title)]


def test_sections_stand_in_their_order_and_tell_the_night(night: Lab) -> None:
    told = brief_of(night)
    text = told.text(60)
    assert titles(text) == ORDER
    assert "finished" in text.splitlines()[1]
    assert "the queue is done" in text
    assert "q1 Train a Qwen adapter?" in text
    assert "nightlab reply ID TEXT" in text
    assert "c1 H1 supported: In llama, sarcasm is highest in" in " ".join(text.split())
    assert "5.4 [4.1, 6.6]" in " ".join(text.split())
    assert "exp_002_finer" in text
    assert "$0.25 of $20" in text


def test_a_failure_that_was_mended_is_told_apart(night: Lab) -> None:
    mended = {trouble.what: trouble.mended for trouble in brief_of(night).troubles}
    assert mended == {"the port 21000 is taken": True, "9 cells of qwen have no answer: 404": False}
    assert "mended: llama: the port 21000 is taken" in brief_of(night).text()


@pytest.mark.parametrize("columns", [30, 48, 60, 80, 200])
def test_it_fits(night: Lab, columns: int) -> None:
    for number in range(12):
        question = Mention("", "you", f"Question {number} " + "of many words " * 20, went_on_with="what I thought best")
        Diary(night.diary).ask("20261122-230000", question)
    text = brief_of(night).text(columns)
    assert len(text.splitlines()) <= 25
    assert all(columns_of(line) <= min(columns, 60) for line in text.splitlines())
    assert "…" not in text
    assert titles(text) == ORDER
    assert "more: nightlab inbox" in text


def test_night_whose_process_is_gone_is_dead(lab: Lab, events: EventLog) -> None:
    events.emit("waiting", call="c1", handles=["server:llama-2"])
    told = brief_of(lab)
    assert told.state == "dead"
    text = told.text()
    assert "dead since" in text
    assert "server:llama-2" in text
    assert "nightlab run goes on with this night" in " ".join(text.split())


def test_used_budget_is_told(lab: Lab, events: EventLog) -> None:
    events.emit("budget_warning", limit="usd", share=0.8)
    events.emit("tool_finished", call="c9", tool="analyze", ok=False, code="plan_error", what="no rows")
    text = brief_of(lab).text()
    assert "80 % of the limit usd is used" in text
    assert "analyze: no rows" in text


def test_torn_last_event_is_no_obstacle(lab: Lab, events: EventLog) -> None:
    events.close()
    with events.path.open("ab") as file:
        file.write(b'{"v":1,"t":"2026-11')
    assert brief_of(lab).state == "dead"


def test_living_night_is_running(lab: Lab, events: EventLog) -> None:
    lock = LabLock(lab.lock)
    lock.acquire("20261122-230000")
    try:
        told = brief_of(lab)
    finally:
        lock.release()
    assert told.state == "running"
    assert "running since" in told.text()


def test_resumed_night_is_judged_by_its_last_end(lab: Lab, events: EventLog) -> None:
    events.emit("night_ended", state="stopped", why="the clock")
    events.emit("night_resumed", limits={"usd": 5.0})
    events.emit("night_ended", state="finished", why="the queue is done")
    told = brief_of(lab)
    assert (told.state, told.reason, told.usd_limit) == ("finished", "the queue is done", 5.0)


def test_no_night_yet(lab: Lab) -> None:
    text = brief_of(lab).text()
    assert "no night yet" in text
    assert "Needs you: nothing" in text


def test_experiment_without_samples_is_zero_of_nothing(night: Lab) -> None:
    assert brief_of(night).cells == ("exp_001 0 samples, 0 judged",)


def test_written_brief_cannot_be_broken_out_of(night: Lab) -> None:
    evil = "```\n# Owned\x1b[2J `x` <script>"
    write_atomic(
        night.experiments / "exp_001_where_is_it" / "claims.yaml",
        json.dumps({"claims": [{"id": "c1", "sentence": evil}]}),
    )
    text = write_brief(night).read_text("utf-8")
    assert text.count("```") == 2
    assert "\x1b" not in text
    assert "\n# Owned" not in text


def test_claims_file_that_is_none_is_said(night: Lab) -> None:
    write_atomic(night.experiments / "exp_001_where_is_it" / "claims.yaml", "claims: 3")
    assert "no list of claims" in brief_of(night).text()


def test_damaged_manifest_and_lock_are_said(night: Lab) -> None:
    write_atomic(night.servers / "llama-1.json", "{")
    write_atomic(night.experiments / "exp_001_where_is_it" / "plan.lock.json", "{")
    text = " ".join(brief_of(night).text().split())
    assert "llama-1.json cannot be read" in text
    assert "plan.lock.json cannot be read" in text


def test_unreadable_queue_does_not_cost_the_brief(night: Lab) -> None:
    night.state_file.write_bytes(b"\xff\xfe\x00")
    text = " ".join(brief_of(night).text().split())
    assert "RESEARCH_STATE.md cannot be read" in text
    assert "q1 Train a Qwen adapter?" in text


def test_answered_question_is_no_longer_open(night: Lab) -> None:
    [question] = open_questions(night)
    assert (question.id, question.to, question.options) == ("q1", "you", ("yes", "no"))
    Diary(night.diary).add_reply("q1", "yes", "Ada")
    assert open_questions(night) == []
    assert "Needs you: nothing" in brief_of(night).text()


def test_brief_loads_nothing_heavy(night: Lab) -> None:
    code = (
        "import sys; from pathlib import Path; from nightlab.lab import Lab;"
        "from nightlab.morning.brief import brief_of; brief_of(Lab.open(Path('.')));"
        "assert not {'torch', 'pandas', 'langgraph', 'anthropic', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=night.root, check=True)

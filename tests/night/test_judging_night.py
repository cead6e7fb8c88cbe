"""A whole night whose samples are judged by Claude (a fake of its API), led by the playbook."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.events import EventLog
from nightlab.files import JsonLines
from nightlab.founding.demo_lab import Demo
from nightlab.judging.log import read_log
from nightlab.night.night import run_night
from nightlab.night.options import Options
from nightlab.record.diary import Diary
from nightlab.testing import FakeMessagesAPI
from nightlab.testing.judges import judge_by_markers
from tests.night.practice_lab import small_demo

pytestmark = [pytest.mark.real, pytest.mark.slow(26)]


def small(root: Path, **judge: object) -> Demo:
    """The small demo lab with one model, judged by Claude."""
    return small_demo(root, "llama", judge={"rubric": "rubric.md", "by": "claude", **judge})


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A key, as a lab with Claude has one."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    return monkeypatch


def test_a_night_is_judged_by_claude_and_its_cost_and_reliability_are_reported(
    tmp_path: Path, key: pytest.MonkeyPatch
) -> None:
    made = small(tmp_path / "lab", pilot=1, pilot_minutes=0.01)
    folder = made.lab.experiment(made.experiment)
    with FakeMessagesAPI(judge_by_markers(folder / "rubric.md")) as api:
        key.setenv("ANTHROPIC_BASE_URL", api.url)
        result = run_night(made.lab, Options(hours=1, budget=2.0))
        asked = len(api.asked())
    rows = list(JsonLines(folder / "judgments.jsonl").read())
    assert len(rows) == len({row["key"] for row in rows}) == 12
    assert {row["judge"] for row in rows} == {"claude-haiku-5-5"}
    checks = read_log(folder, "check")
    assert asked == 12 + len(checks)
    events = list(EventLog(made.lab.night(result.night)).read())
    kinds = [event["kind"] for event in events]
    assert kinds.count("judging_pilot") == 1
    [finished] = [event for event in events if event["kind"] == "judging_finished"]
    assert (finished["judged"], finished["missing"]) == (12, 0)
    assert finished["usd"] > 0
    assert any("The pilot of" in question.text for question in Diary(made.lab.diary).questions())
    report = (folder / "report.md").read_text()
    assert "claude-haiku-5-5" in report
    assert "| *reliability* | α " in report, "beside the means: copies were judged twice"
    assert "gold: off, bias, n" in report


def test_a_night_without_the_judges_key_asks_and_asks_no_model(tmp_path: Path, key: pytest.MonkeyPatch) -> None:
    made = small(tmp_path / "lab")
    key.delenv("ANTHROPIC_API_KEY")
    run_night(made.lab, Options(hours=1))
    folder = made.lab.experiment(made.experiment)
    assert not (folder / "plan.lock.json").exists()
    assert not (folder / "samples.jsonl").exists()
    assert any("ANTHROPIC_API_KEY" in question.text for question in Diary(made.lab.diary).questions())

"""The question after the pilot of a judging, and what a person's words below it in the diary do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.experiments.plan import Plan
from nightlab.judging.log import read_log
from nightlab.judging.rows import read_judgments
from nightlab.lab import Lab
from nightlab.night.judging import judge_experiment, says_stop
from nightlab.record.diary import Diary
from nightlab.testing import FakeMessagesAPI
from nightlab.testing.judges import judge_by_markers
from tests.judging.reading import two_dozen


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with an experiment that waits ten minutes after the pilot of its judge."""
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    two_dozen(tmp_path / "experiments" / "exp_001_joy", pilot=1, pilot_minutes=10)
    return Lab.open(tmp_path)


async def judged_with(lab: Lab, api: FakeMessagesAPI, words: str) -> dict[str, Any]:
    """Judge the experiment in a night whose question about the pilot is answered with these words."""
    plan = Plan.load(lab.experiment("exp_001_joy"))
    events = EventLog(lab.night("n1"))
    judging = asyncio.create_task(judge_experiment(lab, plan, "n1", events, Budget(lab.night("n1") / "l", Limits())))
    diary = Diary(lab.diary)
    while True:
        if judging.done() or diary.questions():
            break
        await asyncio.sleep(0.02)
    if not judging.done():
        [question] = diary.questions()
        assert not any(name in question.why for name in ("llama", "layers_0_20", "mean"))
        assert len(api.asked()) < 24
        diary.add_reply(question.id, words, "ada")
    return await asyncio.wait_for(judging, 20)


async def test_stop_in_the_diary_stops_the_judging_for_good(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab.experiment("exp_001_joy")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with FakeMessagesAPI(judge_by_markers(folder / "rubric.md")) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        counts = await judged_with(lab, api, "Please stop: the rubric is too vague.")
        asked = len(api.asked())
        again = await judge_experiment(
            lab, Plan.load(folder), "n1", EventLog(lab.night("n1")), Budget(folder / "l", Limits())
        )
        assert len(api.asked()) == asked
    assert (counts["planned"], counts["judged"], counts["missing"]) == (24, 6, 18)
    assert counts["stopped"] == again["stopped"] == "the reply to the pilot says so"
    assert len(list(read_judgments(folder))) == 6
    [gate] = read_log(folder, "gate")
    assert gate["go_on"] is False
    degraded = [event for event in EventLog(lab.night("n1")).read() if event["kind"] == "degradation"]
    assert any(event["why"] == "the reply to the pilot says so" for event in degraded)


async def test_other_words_let_it_go_on_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with FakeMessagesAPI(judge_by_markers(lab.experiment("exp_001_joy") / "rubric.md")) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        counts = await judged_with(lab, api, "Looks right, go on.")
    assert (counts["judged"], counts["missing"]) == (24, 0)


def test_words_that_stop() -> None:
    stopping = (
        "stop",
        "Stop!",
        "please stop",
        "no",
        "No, wait",
        "don't",
        "Do not judge the rest",
        "halt it",
        "not yet",
    )
    assert [words for words in stopping if not says_stop(words)] == []
    going = ("go on", "yes", "fine", "don't stop", "Don’t stop it", "do not wait", "Nothing against it", "noted, go on")
    assert [words for words in going if says_stop(words)] == []

"""The writing tools: once for a call, only where the agent may write, and no typed number in its words."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from nightlab.evidence.analyze import analyze
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention
from nightlab.record.state import ResearchState
from tests.evidence.conftest import Make, make, servers  # noqa: F401 - fixtures
from tests.night.conftest import git
from tests.tools.conftest import EXPERIMENT, NIGHT, Night

QUESTION: dict[str, Any] = {
    "question": "Which way?",
    "why": "it matters",
    "options": ["left", "right"],
    "went_on_with": "left",
    "cost_of_wrong": "an hour",
}


async def test_ask_is_asked_once(night: Night) -> None:
    first = await night.call("ask", call_id="a", **QUESTION)
    assert (await night.call("ask", call_id="a", **QUESTION)).data == first.data == {"question": "q1", "to": "you"}
    assert [q.id for q in Diary(night.lab.diary).questions()] == ["q1"]
    assert [row["question"] for row in night.events.read() if row["kind"] == "question"] == ["q1"]


async def test_the_same_words_about_two_experiments_are_two_questions(night: Night) -> None:
    asked = [(await night.call("ask", about=name, **QUESTION)).data for name in ("exp_002_a", "exp_003_b", "exp_002_a")]
    assert [data["question"] for data in asked] == ["q1", "q2", "q1"]
    diary = Diary(night.lab.diary)
    diary.add_reply("q2", "right", "ada")
    assert [(q.about, q.open) for q in diary.questions()] == [("exp_002_a", True), ("exp_003_b", False)]


async def test_what_nobody_answered_is_not_asked_again_by_the_next_night(night: Night) -> None:
    before, diary = night.lab.night("20261122-010203"), Diary(night.lab.diary)
    for text in (QUESTION["question"], "Answered?"):
        diary.ask(before.name, Mention("", night.lab.config.human, text, about=EXPERIMENT))
    diary.add_reply("q2", "left", "ada")
    again = QUESTION | {"question": "Answered?"}
    assert (await night.call("ask", about=EXPERIMENT, **QUESTION)).data["question"] == "q1"
    assert (await night.call("ask", about="exp_002_other", **QUESTION)).data["question"] == "q3"
    assert (await night.call("ask", about=EXPERIMENT, **again)).data["question"] == "q4"


async def test_a_note_is_noted_once_and_cannot_forge_markup(night: Night) -> None:
    for _ in range(2):
        await night.call("note_scaffolding", call_id="n", note="ports\ncan be <!-- taken -->")
    text = night.lab.notes.read_text()
    assert text.count("ports can be &lt;!-- taken") == 1
    assert "2026-11-23:" in text
    assert not (await night.call("note_scaffolding", note="  ")).ok


async def test_the_diary_has_the_agents_words_and_the_codes_counts(night: Night) -> None:
    await night.call("write_diary", experiment="1", title="Nothing yet", summary="It was quiet.")
    await night.call("write_diary", experiment="1", title="Still nothing", next_session="Look again.")
    entry = Diary(night.lab.diary).entry(NIGHT)
    assert entry is not None
    assert entry.title == "Still nothing"
    assert "0 of 189 cells answered" in entry.sections["Session summary"]
    assert entry.sections["Next session"].startswith("Look again.")


@pytest.mark.parametrize("words", [{"title": "63 of 63"}, {"title": "t", "summary": "mean 5.4"}])
async def test_a_typed_number_is_refused(night: Night, words: dict[str, str]) -> None:
    refused = await night.call("write_diary", experiment="1", **words)
    assert refused.error is not None
    assert "typed" in refused.error.what
    assert not Diary(night.lab.diary).has_entry(NIGHT)


async def test_update_state_writes_only_the_nights_lines(night: Night) -> None:
    before = night.lab.state_file.read_text()
    done = await night.call("update_state", experiment="1", status="partial", next_text="look closer")
    assert done.data["queued"] is True
    items = ResearchState(night.lab.state_file).queue()
    assert [(i.experiment, i.status) for i in items] == [(EXPERIMENT, "partial"), ("", "open")]
    after = night.lab.state_file.read_text()
    assert after.replace("[~]", "[ ]").replace("- [ ] look closer\n", "") == before
    assert not (await night.call("update_state", experiment="1", status="open", next_experiment="exp_002_x")).ok


async def test_commit_is_made_once(night: Night) -> None:
    first = await night.call("commit", call_id="c", experiment="1", message="a record")
    again = await night.call("commit", call_id="c", experiment="1", message="a record")
    assert first.data == again.data == {"commit": git(night.lab.root, "rev-parse", "HEAD")}
    assert (await night.call("commit", experiment="1", message="nothing new")).data == {"commit": None}
    assert "Nightlab-Experiment: exp_001" in git(night.lab.root, "log", "-1", "--format=%B")


async def test_the_end_is_refused_while_the_queue_is_open(night: Night) -> None:
    refused = await night.call("end_night", reason="enough")
    assert refused.error is not None
    assert refused.error.code == "queue_open"
    assert (await night.call("end_night", reason="enough", even_if_open=True)).data["open"] == [EXPERIMENT]


async def test_wait_and_handles(night: Night) -> None:
    assert not (await night.call("wait", handles=[])).ok
    [work] = (await night.call("wait", handles=["server:x"], minutes=0.5)).data["works"]
    assert work["result"] == {"waited": 30.0}
    kinds = [row["kind"] for row in night.events.read()]
    assert kinds == ["waiting", "woke"]


async def test_a_sweep_needs_a_frozen_plan_and_a_model(night: Night) -> None:
    refused = await night.call("run_sweep", experiment="1", models=["llama"])
    assert refused.error is not None
    assert refused.error.code == "frozen_error"
    await night.call("plan_experiment", experiment="1", action="freeze")
    assert not (await night.call("run_sweep", experiment="1", models=[])).ok
    unknown = await night.call("run_sweep", experiment="1", models=["lama"])
    assert unknown.error is not None
    assert "llama" in unknown.error.next
    asked = (await night.call("run_sweep", experiment="1", models=["llama", "qwen"])).data["handles"]
    assert asked == [f"sweep:{EXPERIMENT}:llama", f"sweep:{EXPERIMENT}:qwen"]
    judged = (await night.call("run_judges", experiment="1")).data
    assert (judged["handle"], judged["judge"]) == (f"judges:{EXPERIMENT}", "markers")
    assert [handle for handle in night.works.asked if not handle.startswith("forget")] == [*asked, judged["handle"]]


async def test_servers_that_are_not_there(night: Night) -> None:
    assert (await night.call("list_servers")).data == {"servers": []}
    for tool in ("stop_server", "diagnose"):
        refused = await night.call(tool, server="llama-00000000")
        assert refused.error is not None
        assert "no server" in refused.error.what


@pytest.mark.slow
async def test_an_analysed_experiment_answers_queries_in_the_agents_words(
    night: Night,
    make: Make,  # noqa: F811
    servers: list[dict[str, Any]],  # noqa: F811
) -> None:
    folder = shutil.copytree(make("exp_002_toy", prompts=4).folder, night.lab.experiments / "exp_002_toy")
    analysis = analyze(folder, servers=servers, resamples=100)
    typed = await night.call("write_diary", experiment="2", title="t", summary="fine\nIt was 84 cells.")
    assert typed.error is not None
    assert "{{ planned() }}" in str(typed.error)
    strong = await night.call("write_diary", experiment="2", title="Llama has the highest sarcasm early")
    assert strong.error is not None
    assert "highest" in strong.error.what
    said = await night.call(
        "write_diary", experiment="2", title="Done", summary='{{ planned() }} cells. {{ claim("c1") }}'
    )
    assert said.ok
    entry = Diary(night.lab.diary).entry(NIGHT)
    assert entry is not None
    assert f"84 cells. {analysis.claims[0].sentence}" in entry.sections["Session summary"]
    queued = await night.call("update_state", experiment="2", status="open", next_text="ask 12 more prompts")
    assert queued.error is not None
    assert "12" in queued.error.what

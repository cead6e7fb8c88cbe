"""Nights that Claude leads, over the real SDK and the fake Messages API: faults, money, delegation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightlab.brains.claude import Claude, open_client
from nightlab.brains.retries import RetryPolicy
from nightlab.errors import NotSetUp, SpecError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import Options, run_night
from nightlab.night.knowledge import fold
from nightlab.night.launch import preflight
from nightlab.night.playbook import decide
from nightlab.night.thinking import ANEW, REWORD
from nightlab.record.diary import Diary
from nightlab.testing import FakeMessagesAPI
from nightlab.testing.messages_models import Model
from nightlab.testing.messages_script import Fail, Say, overloaded, refusal, usage_limit
from tests.night.conftest import make_lab
from tests.night.practice_lab import small_demo

END = [{"call": "end_night", "input": {"reason": "all is done"}}]
THOUGHT = {"type": "thinking", "thinking": "I think."}
ORCHESTRATOR, STAFF = "claude-opus-5-5", "claude-sonnet-5-5"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-0000000000000000")


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def claude(api: FakeMessagesAPI, clock: Clock | None = None, **options: Any) -> Claude:
    sleep = (clock or Clock()).sleep
    policy = RetryPolicy(sleep=sleep, total=7200.0)
    client = open_client(base_url=api.url, api_key="any")
    return Claude(ORCHESTRATOR, client=client, policy=policy, **options)


def events_of(lab: Lab, kind: str) -> list[dict[str, Any]]:
    return [row for night in lab.night_names() for row in EventLog(lab.night(night)).read() if row["kind"] == kind]


def test_a_night_by_the_labs_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab(tmp_path / "lab", table='brain = "claude"')
    with FakeMessagesAPI([[THOUGHT, {"type": "text", "text": "I look."}, *END]]) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        result = run_night(lab, Options(hours=1, budget=5))
        assert (result.state, result.reason) == ("finished", "all is done")
        assert result.usd > 0
        [request] = api.asked()
        assert request.body["model"] == ORCHESTRATOR
        assert request.status == 200
    [began] = events_of(lab, "night_started")
    assert began["brain"] == ORCHESTRATOR
    assert "sk-ant-test" not in "".join(p.read_text() for p in lab.night(result.night).iterdir())


def test_a_model_that_is_gone_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(tmp_path / "lab", table='brain = "claude"')
    with FakeMessagesAPI(models=[Model(ORCHESTRATOR)]) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        with pytest.raises(SpecError, match="is unknown"):
            preflight(lab, Options())
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(NotSetUp, match="does not answer"):
        preflight(lab, Options())
    assert lab.night_names() == []


def test_money_stops_before_the_first_call_that_would_cross_it(lab: Lab) -> None:
    with FakeMessagesAPI(["never"]) as api:
        result = run_night(lab, Options(hours=1, budget=0.01), brain=claude(api))
        assert api.asked() == []
    assert (result.state, result.usd) == ("stopped", 0.0)
    assert "usd" in result.reason


def test_a_refusal_is_reworded_once_then_a_person_is_told(lab: Lab) -> None:
    with FakeMessagesAPI([refusal(), refusal(), refusal()]) as api:
        result = run_night(lab, Options(hours=1, budget=5), brain=claude(api))
        assert api.statuses() == [200, 200]
        assert REWORD in json.dumps(api.asked()[1].body["messages"])
    assert result.reason == "the brain stopped: refusal"
    assert [row["category"] for row in events_of(lab, "refusal")] == ["frontier_llm"] * 2
    assert ["refuses" in q.text for q in Diary(lab.diary).questions()] == [True]


def test_a_second_model_is_asked_where_the_lab_has_one(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", table='fallback_model = "claude-opus-5"')
    with FakeMessagesAPI([refusal(), refusal(), END]) as api:
        brain = claude(api, fallback_model="claude-opus-5")
        result = run_night(lab, Options(hours=1, budget=5), brain=brain)
        assert [r.body["model"] for r in api.asked()] == [ORCHESTRATOR, ORCHESTRATOR, "claude-opus-5"]
        assert ANEW in json.dumps(api.asked()[2].body["messages"])
    assert result.state == "finished"


def test_a_reworded_turn_that_is_answered_goes_on(lab: Lab) -> None:
    with FakeMessagesAPI([refusal(), "I see.", END]) as api:
        result = run_night(lab, Options(hours=1, budget=5), brain=claude(api))
        assert api.statuses() == [200, 200, 200]
    assert result.state == "finished"


def test_a_usage_limit_is_waited_for(lab: Lab) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    with FakeMessagesAPI([usage_limit(soon), END]) as api:
        result = run_night(lab, Options(hours=1, budget=5), brain=claude(api))
    assert result.state == "finished"
    [waiting] = events_of(lab, "waiting")
    assert waiting["handles"] == ["usage limit"]


def test_an_account_that_is_refused_stops_with_a_mention(lab: Lab) -> None:
    with FakeMessagesAPI([Fail(401)]) as api:
        result = run_night(lab, Options(hours=1, budget=5), brain=claude(api))
        assert api.statuses() == [401]
    assert result.state == "failed"
    assert len(Diary(lab.diary).questions()) == 1


def test_a_window_that_is_full_hands_over_to_a_new_watch(lab: Lab) -> None:
    full = Say([{"type": "text", "text": "half"}], "model_context_window_exceeded")
    with FakeMessagesAPI(["First I look.", full, END]) as api:
        result = run_night(lab, Options(hours=1, budget=5), brain=claude(api))
        assert [len(r.body["messages"]) for r in api.asked()] == [1, 3, 1]
    assert result.state == "finished"
    assert [row["watch"] for row in events_of(lab, "watch_started")] == ["watch_01", "watch_02"]


class Director:
    """Answers every agent of a night: the orchestrator by the playbook's rules, the staff by their forms."""

    def __init__(self) -> None:
        self.turns = 0
        self.faults: dict[int, list[Any]] = {}
        self.delegated = False

    def __call__(self, body: dict[str, Any]) -> Any:
        tools = {tool["name"] for tool in body["tools"]}
        if "report_back" in tools:
            return [THOUGHT, {"call": "report_back", "input": {"report": report_of(body)}}]
        if self.faults.get(self.turns):
            return self.faults[self.turns].pop(0)
        self.turns += 1
        known = fold([m for m in body["messages"] if m["content"]])
        why, calls = decide(known)
        blocks = [{"call": name, "input": arguments} for name, arguments in calls]
        if calls[0][0] == "end_night" and not self.delegated:
            self.delegated, blocks = True, DELEGATIONS
        if self.turns % 2 and not any(block["call"] in ("wait", "end_night") for block in blocks):
            blocks = [*blocks, {"call": "list_servers", "input": {}}]
        return [THOUGHT, {"type": "text", "text": why}, *blocks]


EXPERIMENT = "exp_001_phase1_replication"
DELEGATIONS = [
    {"call": "delegate", "input": {"agent": agent, "brief": "Look at it.", "inputs": [what]}}
    for agent, what in (
        ("scientist", EXPERIMENT),
        ("debugger", EXPERIMENT),
        ("colleague", f"experiments/{EXPERIMENT}/report.md"),
    )
]


def report_of(body: dict[str, Any]) -> dict[str, Any]:
    """A report in the form that the tool asks for."""
    [tool] = [tool for tool in body["tools"] if tool["name"] == "report_back"]
    fields = tool["input_schema"]["properties"]["report"]["properties"]
    if "findings" in fields:
        return {"findings": [], "answer": "Nothing stands out."}
    if "tried" in fields:
        return {"failure": None, "cause": "none", "remedy": "nothing", "mended": False, "tried": []}
    return {"experiment": EXPERIMENT, "done": "It was run.", "verdicts": [], "open_problems": []}


@pytest.mark.slow(16)
@pytest.mark.real
def test_claude_leads_a_small_demo_through_every_fault(tmp_path: Path) -> None:
    made = small_demo(tmp_path / "lab", "llama", "qwen", seed=5)
    director, clock = Director(), Clock()
    storm = overloaded(18)  # at least 30 s each from the seventh on
    drop = Say([THOUGHT, {"type": "text", "text": "I was cut"}], drop_after=4)
    director.faults = {
        1: [refusal()],
        2: [drop],
        3: storm,
        4: [Say([THOUGHT, {"type": "text", "text": "half"}], sse_error="overloaded_error")],
        5: [usage_limit(datetime.now(UTC) + timedelta(seconds=1))],
        6: [Say([{"type": "text", "text": "full"}], "model_context_window_exceeded")],
        8: ["I say something and call nothing."],
    }
    with FakeMessagesAPI(director) as api:
        result = run_night(made.lab, Options(hours=1, budget=50), brain=claude(api, clock))
        statuses = api.statuses()
    assert (result.state, result.reason) == ("finished", "the queue is done"), result
    assert statuses.count(400) == 1, "the usage limit alone"
    assert sum(clock.slept) > 300
    ended = events_of(made.lab, "delegation_ended")
    assert len(ended) == 3
    rows = (made.lab.experiment(EXPERIMENT) / "samples.jsonl").read_text().splitlines()
    assert len({json.loads(row)["key"] for row in rows}) == len(rows) == 24
    assert len(events_of(made.lab, "refusal")) == 1
    assert len([w for w in events_of(made.lab, "watch_started") if w["agent"] == "orchestrator"]) == 2
    assert result.usd > 0

"""The playbook against a scripted world: it follows the remedies that tools name, is bounded, and always ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nightlab.brains import TurnRequest
from nightlab.night import situation
from nightlab.night.playbook import MAX_STARTS, Playbook

Result = dict[str, Any]
Answer = Callable[[dict[str, Any]], Result]
EXPERIMENT = "exp_001_x"
MODELS = ("llama", "gemma")


def good(data: Result) -> Result:
    return {"ok": True, "data": data}


def bad(what: str, code: str = "some_error") -> Result:
    return {"ok": False, "error": {"code": code, "what": what, "next": "think"}}


def fine(_: dict[str, Any]) -> Result:
    return good({})


def progress(**changes: Any) -> Result:
    planned = dict.fromkeys(MODELS, 9)
    base = {"experiment": EXPERIMENT, "frozen": False, "planned": planned, "missing": planned, "problem": None}
    return base | changes


class World:
    """Answers tool calls as a healthy lab would; `script` replaces answers by tool, one after the other."""

    def __init__(self, script: dict[str, list[Result]] | None = None, **situation_changes: Any) -> None:
        self.script = script or {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.servers = 0
        self.frozen = False
        start = {
            "night": "n",
            "limits": {"seconds_left": 3600},
            "queue": [{"experiment": EXPERIMENT, "status": "open", "text": ""}],
            "experiments": [progress()],
        }
        text = situation.render(start | situation_changes)
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": text}]}]

    def answer(self, tool: str, arguments: dict[str, Any]) -> Result:
        self.calls.append((tool, arguments))
        if self.script.get(tool):
            return self.script[tool].pop(0)
        answers: dict[str, Answer] = {
            "plan_experiment": self.plan,
            "start_server": self.start,
            "run_sweep": lambda a: good({"handles": [f"sweep:{a['experiment']}:{m}" for m in a["models"]]}),
            "run_judges": lambda a: good({"handle": f"judges:{a['experiment']}"}),
            "wait": lambda a: good({"works": [{"handle": h, "state": "done", "result": {}} for h in a["handles"]]}),
            "analyze": lambda a: good({"verdicts": [{"id": "H1", "verdict": "supported", "statement": "s"}]}),
        }
        return answers.get(tool, fine)(arguments)

    def plan(self, arguments: dict[str, Any]) -> Result:
        self.frozen = self.frozen or arguments["action"] == "freeze"
        return good({"problems": [], "warnings": [], "progress": progress(frozen=self.frozen)})

    def start(self, arguments: dict[str, Any]) -> Result:
        self.servers += 1
        return good({"server": f"s{self.servers}", "handle": f"server:s{self.servers}", "port": 1})

    async def run(self, turns: int = 60) -> list[str]:
        """Drive the playbook until it ends the night; the tools it called."""
        brain = Playbook()
        for _ in range(turns):
            turn = await brain.turn(TurnRequest([], [], self.messages, "watch_01"))
            self.messages.append({"role": "assistant", "content": turn.content})
            results = [(b, self.answer(b["name"], b["input"])) for b in turn.calls]
            content = [
                {"type": "tool_result", "tool_use_id": b["id"], "content": json.dumps(r), "is_error": not r["ok"]}
                for b, r in results
            ]
            self.messages.append({"role": "user", "content": content})
            if any(b["name"] == "end_night" and r["ok"] for b, r in results):
                return [name for name, _ in self.calls]
        raise AssertionError(f"no end after {turns} turns: {[name for name, _ in self.calls]}")

    def arguments(self, tool: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == tool]


def failed(handle: str, kind: str) -> Result:
    error = {"class": kind, "what": "it broke", "where": None, "next": None}
    return good({"works": [{"handle": handle, "state": "failed", "error": error}]})


def diagnosis(kind: str | None, remedy: Result | None) -> Result:
    return good({"server": "s1", "model": "llama", "class": kind, "cause": "a cause", "remedy": remedy})


async def test_a_healthy_night() -> None:
    world = World()
    called = await world.run()
    assert called == [
        "read_file",
        "list_files",
        "plan_experiment",
        "plan_experiment",
        "start_server",
        "start_server",
        "wait",
        "run_sweep",
        "run_sweep",
        "wait",
        "stop_server",
        "stop_server",
        "run_judges",
        "wait",
        "analyze",
        "write_report",
        "update_state",
        "write_diary",
        "commit",
        "end_night",
    ]
    assert world.arguments("update_state") == [{"experiment": EXPERIMENT, "status": "done"}]


async def test_the_same_conversation_gives_the_same_turn() -> None:
    world = World()
    await world.run()
    for end in range(1, len(world.messages), 2):
        turn = await Playbook().turn(TurnRequest([], [], world.messages[:end], "watch_01"))
        assert turn.content == world.messages[end]["content"]


async def test_an_empty_queue_ends_the_night() -> None:
    called = await World(queue=[], experiments=[]).run()
    assert called == ["read_file", "end_night"]


async def test_a_plan_is_corrected_by_its_remedy_and_asked_about() -> None:
    remedy = {"set": {"models.qwen.id": "right/qwen"}}
    problem = good({"problems": [{"code": "c", "what": "wrong id", "remedy": remedy}], "progress": progress()})
    world = World({"plan_experiment": [problem]})
    called = await world.run()
    corrections = [a for a in world.arguments("plan_experiment") if a["action"] == "correct"]
    assert [a["changes"] for a in corrections] == [{"models.qwen.id": "right/qwen"}]
    assert "note_scaffolding" in called
    assert "models.qwen.id = right/qwen" in world.arguments("ask")[0]["question"]


@pytest.mark.parametrize("remedy", [None, {"set": {"a.b": "c"}}])
async def test_a_plan_that_cannot_run_is_asked_about_and_left(remedy: Result | None) -> None:
    problem = good({"problems": [{"code": "c", "what": "no such model", "remedy": remedy}], "progress": progress()})
    world = World({"plan_experiment": [problem] * 5})
    called = await world.run()
    assert "start_server" not in called
    assert "cannot run: no such model" in world.arguments("ask")[0]["question"]
    assert world.arguments("update_state") == [{"experiment": EXPERIMENT, "status": "open"}]
    assert called[-2:] == ["commit", "end_night"]


async def test_a_plan_that_cannot_be_read_is_left() -> None:
    world = World({"plan_experiment": [bad("malformed YAML")]})
    called = await world.run()
    assert "its plan cannot be read" in world.arguments("ask")[0]["question"]
    assert "start_server" not in called


async def test_a_taken_port_is_healed_by_the_remedy() -> None:
    remedy = {"tool": "start_server", "arguments": {"port": 0}}
    world = World({"wait": [failed("server:s1", "port_in_use")], "diagnose": [diagnosis("port_in_use", remedy)]})
    await world.run()
    starts = world.arguments("start_server")
    assert [(a["model"], a.get("port")) for a in starts] == [("llama", None), ("gemma", None), ("llama", 0)]
    assert world.arguments("update_state")[0]["status"] == "done"


async def test_a_server_that_never_starts_is_given_up_and_said() -> None:
    remedy = {"tool": "start_server", "arguments": {"port": 0}}

    class Broken(World):
        def answer(self, tool: str, arguments: dict[str, Any]) -> Result:
            if tool == "wait" and (mine := [h for h in arguments["handles"] if h != "server:s2"]) and self.alive():
                self.calls.append((tool, arguments))
                return failed(mine[0], "server_lost")
            return super().answer(tool, arguments)

        def alive(self) -> bool:
            return sum(name == "ask" for name, _ in self.calls) == 0

    world = Broken({"diagnose": [diagnosis("server_lost", remedy)] * 9})
    await world.run()
    assert sum(a["model"] == "llama" for a in world.arguments("start_server")) == MAX_STARTS
    [question] = world.arguments("ask")
    assert question["about"] == f"{EXPERIMENT}/llama"
    assert world.arguments("update_state")[0]["status"] == "partial"
    assert [a["models"] for a in world.arguments("run_sweep")] == [["gemma"]]


async def test_a_treatment_that_is_missing_has_no_remedy() -> None:
    world = World(
        {"wait": [failed("server:s1", "treatment_missing")], "diagnose": [diagnosis("treatment_missing", None)]}
    )
    await world.run()
    assert len(world.arguments("start_server")) == 2
    assert "could not be served: a cause" in world.arguments("ask")[0]["question"]


async def test_a_broken_sweep_restarts_its_server_once() -> None:
    remedy = {"tool": "start_server", "arguments": {"port": 0}}
    done = good({"works": [{"handle": f"server:s{n}", "state": "done", "result": {}} for n in (1, 2)]})
    broken = failed(f"sweep:{EXPERIMENT}:llama", "connection")
    world = World({"wait": [done, broken], "diagnose": [diagnosis("server_lost", remedy)]})
    await world.run()
    assert [a["model"] for a in world.arguments("start_server")] == ["llama", "gemma", "llama"]
    assert [a["models"] for a in world.arguments("run_sweep")] == [["llama"], ["gemma"], ["llama"]]
    assert [a["server"] for a in world.arguments("stop_server")].count("s1") == 1


async def test_servers_that_still_answer_are_used_again() -> None:
    ready = {"llama": "old1", "gemma": "old2"}
    world = World(experiments=[progress(frozen=True) | {"servers": ready}])
    world.frozen = True
    called = await world.run()
    assert "start_server" not in called
    assert world.arguments("wait")[0]["handles"] == ["server:old1", "server:old2"]


async def test_a_complete_experiment_is_only_concluded() -> None:
    world = World(experiments=[progress(frozen=True, missing={})])
    world.script["plan_experiment"] = [good({"problems": [], "progress": progress(frozen=True, missing={})})]
    called = await world.run()
    assert "start_server" not in called
    assert called[-1] == "end_night"


@pytest.mark.parametrize(
    "tool",
    [
        "read_file",
        "list_files",
        "plan_experiment",
        "start_server",
        "run_sweep",
        "run_judges",
        "analyze",
        "write_report",
        "ask",
        "update_state",
        "write_diary",
        "commit",
        "stop_server",
        "note_scaffolding",
    ],
)
async def test_a_tool_that_always_fails_does_not_hold_the_night(tool: str) -> None:
    remedy = {"set": {"models.qwen.id": "right/qwen"}}
    problem = good({"problems": [{"code": "c", "what": "wrong id", "remedy": remedy}], "progress": progress()})
    script = {tool: [bad("broken")] * 60}
    if tool != "plan_experiment":
        script["plan_experiment"] = [problem]
    called = await World(script).run()
    assert called[-1] == "end_night"


@pytest.mark.parametrize(
    "state",
    [
        {"state": "done", "result": {"judged": 0, "missing": 9, "doubts": ["haiku: 9 judgments were given up"]}},
        {"state": "failed", "error": {"class": "NotSetUp", "what": "haiku: 9 judgments were given up"}},
    ],
)
async def test_judges_in_doubt_are_asked_about_and_the_night_goes_on(state: dict[str, Any]) -> None:
    world = World(experiments=[progress(frozen=True, missing={})])
    world.script["plan_experiment"] = [good({"problems": [], "progress": progress(frozen=True, missing={})})]
    world.script["wait"] = [good({"works": [{"handle": f"judges:{EXPERIMENT}", **state}]})]
    called = await world.run()
    [asked] = [arguments for tool, arguments in world.calls if tool == "ask"]
    assert "cannot be believed" in asked["question"]
    assert "9 judgments were given up" in asked["why"]
    assert called[-1] == "end_night"


async def test_a_diagnosis_that_fails_gives_the_model_up() -> None:
    world = World({"wait": [failed("server:s1", "odd")], "diagnose": [bad("no log")]})
    called = await world.run()
    assert "ask" in called
    assert called[-1] == "end_night"


async def test_a_verdict_that_did_not_come_true_is_asked_about() -> None:
    verdict = {"id": "H5", "verdict": "contradicted", "statement": "All alike."}
    world = World({"analyze": [good({"verdicts": [verdict]})]})
    await world.run()
    assert "H5 is contradicted: All alike." in world.arguments("ask")[0]["question"]


async def test_a_refused_end_is_said_again_with_the_reason() -> None:
    world = World({"end_night": [bad("still in the queue", "queue_open")]})
    await world.run()
    assert [a.get("even_if_open") for a in world.arguments("end_night")] == [None, True]


async def test_an_experiment_that_is_not_in_the_lab_is_only_asked_about() -> None:
    row = {"experiment": EXPERIMENT, "exists": False, "problem": "no experiment", "frozen": False, "missing": {}}
    world = World({"plan_experiment": [bad("no experiment")], "list_files": [bad("no folder")]}, experiments=[row])
    called = await world.run()
    assert called == ["read_file", "list_files", "plan_experiment", "ask", "end_night"]

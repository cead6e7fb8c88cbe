"""What a conversation says so far, folded into facts: the playbook decides from these, and from nothing else.

The fold reads the same situation and tool results that a model would read, so the playbook can resume in the middle of
any watch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from nightlab.night import situation

Stage = Literal["running", "done", "failed"]


@dataclass
class Serving:
    """One model of one experiment: its server and its share of the sweep."""

    model: str
    starts: int = 0
    server: str | None = None
    server_state: Stage | None = None
    failure: dict[str, Any] | None = None
    diagnosis: dict[str, Any] | None = None
    sweep: Stage | None = None
    sweeps: int = 0
    stopped: bool = False
    given_up: str | None = None


@dataclass
class Case:
    """One experiment of the queue."""

    experiment: str
    progress: dict[str, Any]
    check: dict[str, Any] | None = None
    corrections: dict[str, Any] = field(default_factory=dict)
    servings: dict[str, Serving] = field(default_factory=dict)
    judging: Stage | None = None
    judged: dict[str, Any] = field(default_factory=dict)
    analysis: dict[str, Any] | None = None
    done: set[str] = field(default_factory=set)

    def serving(self, model: str) -> Serving:
        """The facts of one model, made when it is first spoken of."""
        return self.servings.setdefault(model, Serving(model))


@dataclass
class Knowledge:
    """All that a watch knows."""

    start: dict[str, Any]
    cases: dict[str, Case]
    read: set[str] = field(default_factory=set)
    failures: list[dict[str, Any]] = field(default_factory=list)
    ended: int = 0

    def case_of(self, arguments: dict[str, Any]) -> Case | None:
        """The case that a call was about."""
        return self.cases.get(str(arguments.get("experiment")))

    def serving_of(self, server: str) -> Serving | None:
        """The model that a server serves."""
        for case in self.cases.values():
            for serving in case.servings.values():
                if serving.server == server:
                    return serving
        return None


def fold(messages: list[dict[str, Any]]) -> Knowledge:
    """The facts of a conversation: its situation, then every result of a tool call in order."""
    start = situation.parse(messages[0]["content"][0]["text"])
    cases = {row["experiment"]: Case(row["experiment"], row) for row in start["experiments"]}
    known = Knowledge(start, cases)
    for row in start["experiments"]:
        for model, server in row.get("servers", {}).items():
            serving = cases[row["experiment"]].serving(model)
            serving.server, serving.server_state = server, "running"
    calls: dict[str, dict[str, Any]] = {}
    for message in messages[1:]:
        for block in message["content"]:
            if block["type"] == "tool_use":
                calls[block["id"]] = block
            elif block["type"] == "tool_result":
                call = calls[block["tool_use_id"]]
                _learn(known, call["name"], call["input"], json.loads(block["content"]))
    return known


def _learn(known: Knowledge, tool: str, arguments: dict[str, Any], result: dict[str, Any]) -> None:
    case = known.case_of(arguments)
    if not result["ok"]:
        known.failures.append({"tool": tool, "arguments": arguments, **result.get("error", {})})
        _learn_failure(known, case, tool, arguments, result)
        return
    data = result["data"]
    if tool == "wait":
        for work in data["works"]:
            _learn_work(known, work)
    elif tool == "read_file":
        known.read.add(str(arguments["path"]))
    elif tool == "diagnose":
        if serving := known.serving_of(str(arguments.get("server"))):
            serving.diagnosis = data
    elif tool == "stop_server":
        if serving := known.serving_of(str(arguments["server"])):
            serving.stopped = True
    elif tool == "end_night":
        known.ended += 1
    elif tool == "ask":
        _learn_question(known, arguments)
    elif case is not None:
        _LESSONS.get(tool, _learn_done(tool))(case, arguments, data)


def _learn_failure(
    known: Knowledge, case: Case | None, tool: str, arguments: dict[str, Any], result: dict[str, Any]
) -> None:
    """A call that failed is not made again in the same way: what it was for is given up, with the reason."""
    what = str(result.get("error", {}).get("what", "it failed"))
    serving = known.serving_of(str(arguments.get("server")))
    if tool == "end_night":
        known.ended += 1
    elif tool == "read_file":
        known.read.add(str(arguments.get("path")))
    elif tool == "ask":
        _learn_question(known, arguments)
    elif tool == "diagnose" and serving:
        serving.diagnosis = {"class": None, "cause": what, "remedy": None}
    elif tool == "stop_server" and serving:
        serving.stopped = True
    elif case is not None and tool == "start_server":
        case.serving(str(arguments["model"])).given_up = what
    elif case is not None and tool == "run_sweep":
        for model in arguments.get("models", []):
            case.serving(model).given_up = what
    elif case is not None:
        case.done.add(f"{tool} failed")


def _learn_question(known: Knowledge, arguments: dict[str, Any]) -> None:
    """A question about a model ends the attempts to serve it; one about an experiment, the work on it."""
    experiment, _, model = str(arguments.get("about", "")).partition("/")
    case = known.cases.get(experiment)
    if case and model:
        case.serving(model).given_up = str(arguments["question"])
    elif case:
        case.done.add("ask")


def _learn_plan(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    case.check = data
    case.progress = data["progress"]
    if arguments["action"] == "correct":
        case.corrections.update(arguments.get("changes") or {})


def _learn_start(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    serving = case.serving(str(arguments["model"]))
    serving.starts += 1
    serving.server, serving.server_state = data["server"], "running"
    serving.failure = serving.diagnosis = None
    serving.sweep = None if serving.sweep == "failed" else serving.sweep
    serving.stopped = False


def _learn_sweep(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    for handle in data["handles"]:
        serving = case.serving(handle.split(":")[2])
        serving.sweep, serving.failure, serving.diagnosis = "running", None, None
        serving.sweeps += 1


def _learn_judges(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    case.judging = "running"


def _learn_analysis(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    case.analysis = data


def _learn_done(tool: str) -> Any:
    def lesson(case: Case, arguments: dict[str, Any], data: dict[str, Any]) -> None:
        case.done.add(tool)

    return lesson


_LESSONS: dict[str, Any] = {
    "plan_experiment": _learn_plan,
    "start_server": _learn_start,
    "run_sweep": _learn_sweep,
    "run_judges": _learn_judges,
    "analyze": _learn_analysis,
}


def _learn_work(known: Knowledge, work: dict[str, Any]) -> None:
    """News of background work: a server, a model's share of a sweep, or the judging of an experiment."""
    kind, _, rest = work["handle"].partition(":")
    stage: Stage = work["state"]
    if kind == "server":
        serving = known.serving_of(rest)
        if serving is not None:
            serving.server_state = stage
            serving.failure = work.get("error") if stage == "failed" else None
    elif kind == "sweep":
        experiment, model = rest.split(":")
        if experiment in known.cases:
            serving = known.cases[experiment].serving(model)
            serving.sweep = stage
            serving.failure = work.get("error") if stage == "failed" else None
    elif kind == "judges" and rest in known.cases:
        known.cases[rest].judged = work.get("error") or work.get("result") or {}
        _learn_judged(known.cases[rest], stage, (work.get("result") or {}).get("look"))


def _learn_judged(case: Case, stage: Stage, look: dict[str, Any] | None) -> None:
    """Judging ended; a look may call for further cells, which are then asked and judged like the first."""
    case.judging = stage
    case.progress["looking"] = False
    for model, count in (look or {}).get("more", {}).items():
        serving = case.serving(model)
        if not serving.given_up:
            case.judging, case.progress["looking"] = None, True
            case.progress["missing"][model] = count
            serving.sweep = None

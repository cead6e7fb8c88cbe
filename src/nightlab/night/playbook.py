"""The brain that needs no model: it executes the experiment queue by rules, and follows the remedies that tools name.

It reads the same situation and tool results as a model would, and calls the same tools. It invents nothing: no
experiment, no prose about results beyond what the analysis gives. What it cannot do by rule it asks a person, with a
default, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nightlab.brains import Turn, TurnRequest, Usage, tool_use
from nightlab.budget import Amounts
from nightlab.night.knowledge import Case, Knowledge, Serving, fold

MAX_STARTS = 3
_HOW = "How should it go on?"
MAX_SWEEPS = 2
MAX_CORRECTIONS = 8
WAIT_MINUTES = 10.0

Call = tuple[str, dict[str, Any]]
Move = tuple[str, list[Call]]


class Playbook:
    """A brain by rules; a turn depends only on the conversation, so a repeated turn is the same turn."""

    name = "playbook"

    def quote(self, request: TurnRequest) -> Amounts:
        """A turn costs nothing."""
        return Amounts()

    async def turn(self, request: TurnRequest, *, on_text: Callable[[str], None] | None = None) -> Turn:
        """The next move of the first experiment that still has one; the end of the night when none has."""
        why, calls = decide(fold(request.messages))
        if on_text:
            on_text(why)
        blocks = [tool_use(request, index, name, arguments) for index, (name, arguments) in enumerate(calls)]
        return Turn([{"type": "text", "text": why}, *blocks], "tool_use", Usage())


def decide(known: Knowledge) -> Move:
    """What to do next, and why."""
    if "state/RESEARCH_STATE.md" not in known.read:
        looks = [("read_file", {"path": "state/RESEARCH_STATE.md"})]
        looks += [("list_files", {"path": f"experiments/{name}"}) for name in known.cases]
        return "I read the research state and look at the queued experiments.", looks
    for case in known.cases.values():
        for move in (_prepare, _gather, _conclude):
            if found := move(case):
                return found
    if known.ended == 0:
        return "The queue is done.", [("end_night", {"reason": _reason(known)})]
    return "Nothing is left that I can do by rule.", [("end_night", {"reason": _reason(known), "even_if_open": True})]


def _reason(known: Knowledge) -> str:
    if not known.cases:
        return "the queue holds no open experiment"
    partial = [c.experiment for c in known.cases.values() if _given_up(c)]
    return f"the queue is done; incomplete: {', '.join(partial)}" if partial else "the queue is done"


def _given_up(case: Case) -> list[Serving]:
    return [s for s in case.servings.values() if s.given_up]


def _dropped(case: Case) -> bool:
    return bool(case.done & {"ask", "update_state", "update_state failed"})


def _prepare(case: Case) -> Move | None:
    """Check the plan, correct what names its own correction, freeze; drop a plan that cannot run."""
    name = case.experiment
    if case.check is None:
        if "plan_experiment failed" in case.done:
            return _drop(case, "its plan cannot be read")
        return f"I check the plan of {name}.", [("plan_experiment", {"experiment": name, "action": "check"})]
    problems = case.check.get("problems", [])
    if problems and not case.progress["frozen"]:
        return _correct(case, problems)
    if not case.progress["frozen"]:
        if "plan_experiment failed" in case.done:
            return _drop(case, "its plan could not be frozen")
        why = f"The plan of {name} stands; I freeze it before any data."
        return why, [("plan_experiment", {"experiment": name, "action": "freeze"})]
    return None


def _correct(case: Case, problems: list[dict[str, Any]]) -> Move | None:
    changes: dict[str, Any] = {}
    for problem in problems:
        changes.update((problem.get("remedy") or {}).get("set", {}))
    if not changes or len(case.corrections) >= MAX_CORRECTIONS or changes.items() <= case.corrections.items():
        return _drop(case, problems[0]["what"])
    whys = "; ".join(p["what"] for p in problems)
    note = f"{case.experiment}: the plan was corrected before it was frozen: {whys}"
    arguments = {"experiment": case.experiment, "action": "correct", "changes": changes, "why": whys}
    return f"The check found a mistake with a known remedy: {whys}.", [
        ("plan_experiment", arguments),
        ("note_scaffolding", {"note": note}),
    ]


def _drop(case: Case, why: str) -> Move | None:
    if _dropped(case):
        return None
    question = {
        "question": f"{case.experiment} cannot run: {why}. What should it be?",
        "why": "the queue names it, and no rule mends it",
        "options": ["mend its plan", "drop it from the queue"],
        "went_on_with": "the rest of the queue, without it",
        "cost_of_wrong": "one night without its data",
    }
    asked: list[Call] = [("ask", {"about": case.experiment, **question})]
    if not case.progress.get("exists", True):
        return f"{case.experiment} is not in the lab.", asked
    return f"{case.experiment} cannot run: {why}.", [
        *asked,
        ("update_state", {"experiment": case.experiment, "status": "open"}),
        ("write_diary", {"experiment": case.experiment, "title": f"{case.experiment} could not run"}),
    ]


def _gather(case: Case) -> Move | None:
    """Start servers, heal what names its remedy, sweep on each that is proven, free each that is done."""
    if _dropped(case) or case.judging or case.analysis:
        return None
    if case.progress.get("kind") == "run":
        return _run(case)
    calls: list[Call] = []
    whys: list[str] = []
    for model, missing in case.progress["missing"].items():
        serving = case.serving(model)
        step = _serve(case, serving) if missing and not serving.given_up else None
        if step:
            whys.append(step[0])
            calls += step[1]
    for serving in case.servings.values():
        freed = serving.sweep == "done" and not case.progress.get("adaptive")
        if serving.server and not serving.stopped and (freed or serving.given_up):
            calls.append(("stop_server", {"server": serving.server}))
    if calls:
        return " ".join(dict.fromkeys(whys)) or "A share of the sweep is done: its server is freed.", calls
    handles = list(_running(case))
    if handles:
        return "I wait for the servers and sweeps under way.", [("wait", {"handles": handles, "minutes": WAIT_MINUTES})]
    return None


def _run(case: Case) -> Move | None:
    """The runs of an experiment of `kind: run`: made, waited for; given up, with a question, when they stop again."""
    runs = case.serving("runs")
    name = case.experiment
    if runs.given_up or runs.sweep == "done" or not (case.progress["missing"] or runs.sweep):
        return None
    if runs.sweep == "running":
        return "I wait for the runs under way.", [("wait", {"handles": list(_running(case)), "minutes": WAIT_MINUTES})]
    if runs.sweep is None or runs.sweeps < MAX_SWEEPS:
        return f"The runs of {name} are made.", [("run_sweep", {"experiment": name, "models": ["runs"]})]
    cause = (runs.failure or {}).get("what")
    question = {
        "about": f"{name}/runs",
        "question": f"The runs of {name} do not end well: {cause}. How should it go on?",
        "why": "the same failure came again and again, and no rule mends a command",
        "options": ["mend the command in a new experiment", "leave it"],
        "went_on_with": "the runs that have metrics; the others stay missing and are reported so",
        "cost_of_wrong": "those runs, one more night",
    }
    return f"{name} cannot go on by rule; I ask, and go on without it.", [("ask", question)]


def _serve(case: Case, serving: Serving) -> Move | None:
    """The next step of one model that still lacks cells; None while it is at work."""
    target = {"experiment": case.experiment, "model": serving.model}
    if serving.failure and serving.diagnosis is None:
        return f"{serving.model} failed; I read why.", [("diagnose", {"server": serving.server})]
    if serving.failure:
        return _heal(case, serving)
    if serving.server is None:
        return "I start the model servers, all at once.", [("start_server", target)]
    if serving.server_state == "done" and serving.sweep is None:
        sweep = {"experiment": case.experiment, "models": [serving.model]}
        return f"{serving.model} is proven; its cells are asked.", [("run_sweep", sweep)]
    return None


def _heal(case: Case, serving: Serving) -> Move:
    """Follow the remedy of a diagnosis, a bounded number of times; else give the model up, and say so."""
    diagnosis = serving.diagnosis or {}
    remedy = diagnosis.get("remedy") or {}
    spent = serving.starts >= MAX_STARTS or serving.sweeps >= MAX_SWEEPS
    if remedy.get("tool") == "start_server" and not spent:
        target = {"experiment": case.experiment, "model": serving.model, **remedy.get("arguments", {})}
        old = [("stop_server", {"server": serving.server})] if serving.sweep == "failed" else []
        why = f"{serving.model}: {diagnosis['class']}; the remedy is known and I follow it."
        return why, [*old, ("start_server", target)]
    cause = diagnosis.get("cause") or (serving.failure or {}).get("what")
    question = {
        "about": f"{case.experiment}/{serving.model}",
        "question": f"{serving.model} could not be served: {cause}. {diagnosis.get('question') or _HOW}",
        "why": f"{case.experiment} has no answers of {serving.model} without it",
        "options": ["mend it and queue the missing cells", f"leave {serving.model} out"],
        "went_on_with": f"the other models; the cells of {serving.model} stay missing and are reported so",
        "cost_of_wrong": f"the cells of {serving.model}, one more night",
    }
    return f"{serving.model} has no remedy left by rule; I ask, and go on without it.", [("ask", question)]


def _running(case: Case) -> Iterable[str]:
    for serving in case.servings.values():
        if serving.given_up:
            continue
        if serving.server and serving.server_state == "running":
            yield f"server:{serving.server}"
        if serving.sweep == "running":
            yield f"sweep:{case.experiment}:{serving.model}"


def _conclude(case: Case) -> Move | None:
    """Judge, analyse, report, record and commit what there is."""
    name, done = case.experiment, case.done
    if _dropped(case):
        if done & {"commit", "commit failed"} or not case.progress.get("exists", True):
            return None
        message = f"{name}: record of the night"
        return "I commit what was written.", [("commit", {"experiment": name, "message": message})]
    samples = case.progress.get("kind") != "run"
    if samples and case.judging is None and "run_judges failed" not in done:
        return "All that could be asked is asked; it is judged blind.", [("run_judges", {"experiment": name})]
    if case.judging == "done" and (calls := _kept(case)):
        return "The looks are over: the servers are freed.", calls
    if case.judging == "running":
        return "I wait for the judges.", [("wait", {"handles": [f"judges:{name}"], "minutes": WAIT_MINUTES})]
    if case.analysis is None and "analyze failed" not in done:
        return "Rows become numbers.", [("analyze", {"experiment": name})]
    if not done & {"write_report", "write_report failed"}:
        return "Numbers become sentences.", [("write_report", {"experiment": name})]
    return "The night's record.", _record(case)


def _kept(case: Case) -> list[Call]:
    """The servers of an adaptive plan, which were kept for its next look."""
    left = [s for s in case.servings.values() if s.server and not s.stopped and s.server_state == "done"]
    return [("stop_server", {"server": serving.server}) for serving in left] if case.progress.get("adaptive") else []


def _record(case: Case) -> list[Call]:
    name = case.experiment
    judged = case.judging == "done" or case.progress.get("kind") == "run"
    status = "partial" if _given_up(case) or not judged or case.analysis is None else "done"
    verdicts = (case.analysis or {}).get("verdicts", [])
    return [
        *(("ask", {"about": name, **question}) for question in _questions(case, verdicts)),
        ("update_state", {"experiment": name, "status": status}),
        ("write_diary", {"experiment": name, "title": f"{name}: {status}"}),
    ]


def _questions(case: Case, verdicts: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One question each for what was corrected, for judges in doubt, and for the first prediction that failed."""
    if case.corrections:
        what = ", ".join(f"{key} = {value}" for key, value in case.corrections.items())
        yield {
            "question": f"Is this what you meant: {what}? The plan was corrected before it was frozen.",
            "why": "the plan as written could not have been what was trained",
            "options": ["yes", "no: the adapter must be trained for the id that was written"],
            "went_on_with": "yes: the corrected plan",
            "cost_of_wrong": "the cells of that model are asked again",
        }
    if why := _judges_in_doubt(case):
        yield {
            "question": f"The judge of {case.experiment} cannot be believed or asked: what should change?",
            "why": why,
            "options": ["judge again (nightlab judge --again)", "another judge or rubric, in a new experiment"],
            "went_on_with": "without the missing judgments; they are not available, and not 0",
            "cost_of_wrong": "the judgments of one night",
        }
    for verdict in verdicts:
        if verdict["verdict"] != "supported":
            yield {
                "question": f"{verdict['id']} is {verdict['verdict']}: {verdict['statement']} What comes next?",
                "why": "the prediction was frozen before the data, and did not come true",
                "options": ["replicate with new seeds and prompts", "drop the hypothesis", "refine it"],
                "went_on_with": "it stands as it is; nothing was re-run",
                "cost_of_wrong": "one more night on an idea that the data do not carry",
            }
            return


def _judges_in_doubt(case: Case) -> str:
    """Why judgments are missing: the judge's error, or what its known items showed."""
    doubts = [str(why) for why in case.judged.get("doubts", ())]
    if case.judging == "failed":
        doubts.append(str(case.judged.get("what")))
    return "; ".join(doubts)[:900]

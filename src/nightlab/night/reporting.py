"""Analysis and report of an experiment as a night makes them: with every server and event that concerns it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.evidence.analysis import Analysis
from nightlab.evidence.analyze import analyze, analyze_again
from nightlab.evidence.cited import claim_rows, short_name
from nightlab.evidence.context import FILE as CONTEXT
from nightlab.evidence.lint import lint
from nightlab.evidence.looking import Looked, take_look
from nightlab.evidence.notebook import NOTEBOOK
from nightlab.evidence.page import PAGE, write_page
from nightlab.evidence.printing import PDF
from nightlab.evidence.report import compile_report, compile_text
from nightlab.evidence.run_analysis import RunAnalysis
from nightlab.evidence.run_report import compile_run_report, compile_run_text
from nightlab.evidence.runs import analyze_runs, analyze_runs_again, is_run
from nightlab.evidence.sandbox import render
from nightlab.experiments.marks import MARKS
from nightlab.lab import Lab
from nightlab.servers.manifest import list_servers

WORDS = "your text"
_DRAWING = threading.Lock()  # figures are drawn by one thread at a time
_KEPT: dict[Path, tuple[tuple[int, ...], Analysis]] = {}
"""The last analysis of each experiment in this process, with the state of the files it rests on."""


def analyze_experiment(lab: Lab, experiment: str) -> Analysis | RunAnalysis:
    """Tables, verdicts, claims and figures of an experiment, kept for its report.

    Raises ConservationError, FrozenError.
    """
    folder = lab.experiment(experiment)
    nights = list(nights_of(lab, folder.name))
    events = [row for night in nights for row in EventLog(lab.night(night)).read()]
    others = claims_of_others(lab, folder.name)
    if is_run(folder):
        cost, resamples = _cost(lab, nights), lab.config.bootstrap
        with _DRAWING:
            return analyze_runs(folder, events=events, cost=cost, resamples=resamples, others=others)
    servers = manifests(lab)
    with _DRAWING:
        analysis = analyze(
            folder,
            servers=servers,
            events=events,
            cost=_cost(lab, nights),
            resamples=lab.config.bootstrap,
            others=others,
            folders=folders_of_others(lab, folder.name),
        )
        _KEPT[folder] = (_stamp(folder), analysis)
    return analysis


def claims_of_others(lab: Lab, experiment: str) -> dict[str, list[dict[str, Any]]]:
    """The claims of all other experiments, by the name that claims are cited with."""
    names = (name for name in lab.experiment_names() if name != experiment)
    return {short_name(name): claim_rows(lab, name) for name in names}


def folders_of_others(lab: Lab, experiment: str) -> list[Path]:
    """The folders of all other experiments."""
    return [lab.experiment(name) for name in lab.experiment_names() if name != experiment]


def look_at(lab: Lab, experiment: str, events: EventLog | None = None) -> Looked | None:
    """Take a look at an adaptive experiment; None for any other. Raises ConservationError, FrozenError."""
    folder = lab.experiment(experiment)
    looked = take_look(folder, servers=manifests(lab), resamples=lab.config.bootstrap)
    if looked is not None and events is not None:
        key = f"{folder.name}/look/{looked.look.number}"
        events.once(key, "look", experiment=folder.name, **looked.document())
    return looked


def manifests(lab: Lab) -> list[dict[str, Any]]:
    """Every server of the lab, as plain data."""
    return [manifest.model_dump() for manifest in list_servers(lab)]


def report_experiment(lab: Lab, experiment: str) -> Path:
    """Compile an experiment's report from its last analysis, and its page where there is one.

    Raises ReportError, QueryError.
    """
    folder = lab.experiment(experiment)
    if is_run(folder):
        with _DRAWING:
            path = compile_run_report(folder)
    else:
        with _DRAWING:
            stamp, analysis = _KEPT.get(folder, (None, None))
            path = compile_report(folder, analysis if stamp == _stamp(folder) else None)
    if (folder / PAGE).is_file():
        write_page(folder)  # a page of an older report would say what no longer holds
    return path


def older_views(folder: Path) -> list[Path]:
    """The printed report and the notebook of an experiment, where they are older than its report."""
    report = (folder / "report.md").stat().st_mtime_ns
    views = (folder / name for name in (PDF, NOTEBOOK))
    return [view for view in views if view.is_file() and view.stat().st_mtime_ns < report]


def compile_words(lab: Lab, experiment: str, text: str) -> str:
    """An agent's own words for diary or research state, through the compiler of reports: queries are answered, typed
    numbers and words that no claim backs are refused.

    An experiment without an analysis has no numbers to speak of: then names alone may hold digits. Raises ReportError,
    QueryError.
    """
    folder, names = lab.experiment(experiment), lab.experiment_names()
    if not (folder / CONTEXT).is_file():
        lint(text, WORDS, names)
        return render(text, {}, WORDS)
    if is_run(folder):
        with tempfile.TemporaryDirectory() as place:
            return compile_run_text(text, WORDS, analyze_runs_again(folder, Path(place), pictures=False), names)
    with _DRAWING:
        stamp, analysis = _KEPT.get(folder, (None, None))
        if analysis is None or stamp != _stamp(folder):
            with tempfile.TemporaryDirectory() as place:
                analysis = analyze_again(folder, Path(place), pictures=False)
    return compile_text(text, WORDS, analysis, names)


def _stamp(folder: Path) -> tuple[int, ...]:
    """When the files that an analysis rests on were last written."""
    files = (folder / name for name in ("samples.jsonl", "judgments.jsonl", MARKS, "plan.lock.json", "evidence.json"))
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)


def nights_of(lab: Lab, experiment: str) -> Iterator[str]:
    """The nights whose events name an experiment."""
    for night in lab.night_names():
        if any(row.get("experiment") == experiment for row in EventLog(lab.night(night)).read()):
            yield night


def _cost(lab: Lab, nights: list[str]) -> dict[str, float] | None:
    """What the nights of an experiment spent; None where no night worked on it, since that is not nothing spent."""
    if not nights:
        return None
    totals: dict[str, Any] = {"usd": 0.0, "tokens": 0.0, "gpu_seconds": 0.0}
    for night in nights:
        spent = Budget(lab.night(night) / "ledger.jsonl", Limits()).spent()
        totals["usd"] += spent.usd
        totals["tokens"] += spent.tokens
        totals["gpu_seconds"] += spent.gpu_seconds
    return totals

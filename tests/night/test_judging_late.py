"""A batch that is rejected after its judgments counted takes them, and the claims that rest on them, with it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import treatments
from nightlab.experiments.lock import write_lock
from nightlab.experiments.marks import Marks
from nightlab.experiments.plan import Plan
from nightlab.judging.rows import counts, read_judgments
from nightlab.judging.run import run_judges
from nightlab.night.judges import open_seats
from nightlab.night.judging import judge_experiment
from nightlab.night.late import BY, look_again
from nightlab.night.reporting import analyze_experiment, report_experiment
from nightlab.record.state import ResearchState
from nightlab.servers.manifest import Manifest, save
from nightlab.testing import FakeMessagesAPI, judging
from tests.judging.conftest import Answered
from tests.judging.reading import TEXTS, good, two_dozen

from .conftest import make_lab

NAME = "exp_001_joy"


def _study(folder: Path) -> Answered:
    """Answers to five prompts, as a proven server's, so that a verdict is possible."""
    first = two_dozen(folder)
    for number in range(3):
        more = {"category": "direct", "prompt_text": f"How was evening {number}?"}
        (folder / "prompts" / f"evening-{number}.yaml").write_text(yaml.safe_dump(more))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    left, right = ({"model": "llama", "condition": name} for name in ("layers_0_20", "base"))
    prediction = {"kind": "greater", "dimension": "joy", "left": left, "right": right}
    config["hypotheses"] = [{"id": "H1", "statement": "Joy sits early.", "prediction": prediction}]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    plan = Plan.load(folder)
    write_lock(folder, document(plan, treatments(plan)))
    study = Answered(plan)
    study.answer(TEXTS)
    rows = {row["key"]: row for row in first.samples.rows()}
    for cell in cells(plan):
        rows[cell.key] |= {"category": cell.category, "replicate": cell.replicate, "server": "srv"}
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    return study


def _server() -> Manifest:
    canary = {"id": "srv/1", "passed": True, "failure": None, "checks": []}
    fixed = {"key": "k", "night": "n", "model_path": "p", "engine": "embedded", "job": "j", "port": 1, "flags": []}
    named = {"id": "srv", "model": "llama", "model_id": "lab/llama-8b", "served_name": "llama", "place": "local"}
    return Manifest.model_validate(
        {**fixed, **named, "state": "ready", "canary": canary, "conditions": {}, "started": "2026-11-23T02:00:00.000Z"}
    )


def _cut_off_before_its_end(folder: Path) -> None:
    """The log as a killed judging leaves it: the batch is planned, and what was heard of it is not on the disk."""
    log = folder / "judge_log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows if row["op"] == "planned"))


def test_judgments_of_a_batch_that_is_rejected_later_are_invalidated_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(tmp_path / "lab", queue=f"- [x] {NAME}: the first\n", table="bootstrap = 200\n")
    study = _study(lab.experiments / NAME)
    save(lab, _server())
    events, budget = EventLog(lab.night("n1")), Budget(lab.night("n1") / "budget.jsonl", Limits())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")

    def judge(script: Any) -> dict[str, Any]:
        with FakeMessagesAPI(script) as api:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
            return asyncio.run(judge_experiment(lab, study.plan, "n1", events, budget))

    assert judge(good(study))["judged"] == 60
    analyze_experiment(lab, NAME)
    report_experiment(lab, NAME)
    [claim] = yaml.safe_load((study.folder / "claims.yaml").read_text())["claims"]
    assert claim["verdict"] == "supported"
    assert not [row for row in events.read() if row["kind"] == "invalidation"]

    _cut_off_before_its_end(study.folder)
    result = judge(judging(lambda packet: {"joy": 5, "gloom": 3}))
    assert result["missing"] == 60
    [event] = [row for row in events.read() if row["kind"] == "invalidation"]
    assert (event["judgments"], event["samples"], event["by"], event["flipped"]) == (60, 0, BY, ["H1"])
    assert "the sentinels of joy are 0 apart" in event["why"]
    assert not any(map(counts, read_judgments(study.folder)))
    assert {mark.by for mark in Marks.read(study.folder).all} == {BY}
    assert "its batch was rejected later" in (study.folder / "report.md").read_text()
    assert [(item.experiment, item.status) for item in ResearchState(lab.state_file).queue()] == [(NAME, "partial")]


def test_a_night_that_wakes_takes_back_what_a_person_judged_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(tmp_path / "lab", queue=f"- [x] {NAME}: the first\n")
    study = two_dozen(lab.experiments / NAME)
    broken = lab.experiments / "exp_002_broken"
    shutil.copytree(study.folder, broken)
    (broken / "config.yaml").write_text("question: [\n")
    (broken / "judge_log.jsonl").touch()
    events = EventLog(lab.night("n1"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")

    async def judge() -> None:
        async with open_seats(lab, study.plan) as [seat]:
            await run_judges(study.plan, study.samples, seat.judge, study.folder)

    def by_hand(script: Any) -> None:
        with FakeMessagesAPI(script) as api:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
            asyncio.run(judge())

    by_hand(good(study))
    _cut_off_before_its_end(study.folder)
    by_hand(judging(lambda packet: {"joy": 5, "gloom": 3}))
    assert sum(map(counts, read_judgments(study.folder))) == 24
    look_again(lab, events)
    look_again(lab, events)
    told = [row for row in events.read() if row["kind"] == "invalidation"]
    assert [(row["judgments"], row["by"]) for row in told] == [(24, BY)]
    assert not any(map(counts, read_judgments(study.folder)))
    assert "exp_002_broken" in next(row["what"] for row in events.read() if row["kind"] == "degradation")

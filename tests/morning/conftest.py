"""A lab whose last night left real files: events, a ledger, claims, a question in the diary."""

import subprocess
from pathlib import Path

import pytest

from nightlab import founding
from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention
from nightlab.record.state import ResearchState

NIGHT = "20261122-230000"
EXPERIMENT = "exp_001_where_is_it"
CLAIMS = """\
claims:
- id: c1
  hypothesis: H1
  verdict: supported
  sentence: 'In llama, sarcasm is highest in layers_0_20: 5.4 [4.1, 6.6], n=9 of 9; layers_20_40 is next, lower by 2.4.'
- id: c2
  hypothesis: H2
  verdict: contradicted
  sentence: 'In gemma, sarcasm is highest in layers_40_60: 5.5 [4.9, 6.1], n=9 of 9, not in layers_0_20 as predicted.'
"""


@pytest.fixture
def lab(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A new lab, in a home whose git knows who commits."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for key, value in {"user.name": "Ada", "user.email": "ada@example.org"}.items():
        subprocess.run(["git", "config", "--global", key, value], check=True)
    return founding.init(founding.survey(tmp_path / "lab"))


@pytest.fixture
def events(lab: Lab) -> EventLog:
    """The events of a night that met two troubles and mended one; it has not ended."""
    log = EventLog(lab.night(NIGHT))
    log.emit(
        "night_started", night=NIGHT, brain="playbook", limits={"usd": 20.0, "gpu_seconds": None, "deadline": None}
    )
    log.emit("turn", watch="watch_01", said="I start a server.", calls=["start_server"], usd=0.25, tokens=10)
    log.emit("server_failed", server="llama-1", model="llama", failure="port_in_use", error="the port 21000 is taken")
    log.emit("server_ready", server="llama-2", model="llama", url="http://127.0.0.1:5")
    log.emit("degradation", experiment=EXPERIMENT, what="9 cells of qwen have no answer", why="404", where="sweep")
    return log


@pytest.fixture
def night(lab: Lab, events: EventLog) -> Lab:
    """The lab after that night, with its cost, its claims, a question and an open queue."""
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits())
    budget.reserve("a", usd=0.5, who="orchestrator").commit(usd=0.25)
    budget.close()
    folder = lab.experiments / EXPERIMENT
    write_atomic(folder / "claims.yaml", CLAIMS)
    question = Mention(
        "", "you", "Train a Qwen adapter?", "it would close the gap", ("yes", "no"), "without it", "a night"
    )
    Diary(lab.diary).ask(NIGHT, question, date="2026-11-22")
    ResearchState(lab.state_file).add_queue("exp_002_finer", "10 % slices")
    events.emit("night_ended", state="finished", why="the queue is done")
    return lab

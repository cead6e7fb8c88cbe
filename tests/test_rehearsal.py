"""A rehearsal of a plan that names models of eight billion parameters, with troubles, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nightlab.budget import Budget, Limits
from nightlab.cli import cli
from nightlab.compute.sandbox.ladder import probe
from nightlab.errors import UsageError
from nightlab.experiments.plan import Plan
from nightlab.founding import troubles
from nightlab.founding.real_night import real_night
from nightlab.founding.real_runs import real_runs
from nightlab.founding.rehearsal import prepare
from nightlab.founding.rehearsed_runs import prepare_runs
from nightlab.founding.stand_ins import family
from nightlab.lab import Lab
from nightlab.runs.plan import RunPlan
from nightlab.testing import FakeMessagesAPI, judging
from nightlab.testing.judges import packets_in
from tests.night.conftest import make_lab

EXPERIMENT = "exp_007_big"
PLAN = {
    "question": "Where does the persona sit?",
    "factors": {
        "models": [
            {
                "name": "llama_8b",
                "id": "meta-llama/Llama-3.1-8B-Instruct",
                "revision": "abc",
                "adapters": {"persona": "maius/llama-3.1-8b-it-personas/sarcasm"},
            }
        ],
        "conditions": "conditions",
        "prompts": "prompts",
        "replicates": 2,
    },
    "sampling": {"temperature": 0.7, "max_tokens": 200, "seed": 1},
    "judge": {"rubric": "rubric.md", "by": "claude", "model": "claude-sonnet-5-5"},
    "serving": {"engine": "vllm", "gpu_memory_utilization": 0.9},
    "hypotheses": [
        {
            "id": "H1",
            "statement": "The whole adapter is warmer than none.",
            "prediction": {
                "kind": "greater",
                "dimension": "warmth",
                "left": {"condition": "full"},
                "right": {"condition": "base"},
                "by": 1.0,
            },
        }
    ],
}
EARLY = {"layers": {"type": "range", "start": 0, "end": 6}, "module_amplifications": [{"modules": "all", "weight": 1}]}
NOTHING = {"layers": "all", "module_amplifications": [{"modules": "all", "weight": 0}]}
RUBRIC = """---
name: warmth
version: 1
dimensions:
  warmth: {range: [0, 10], question: "How warm is the text?", anchors: {0: cold, 10: warm}}
---
Read the text and say how warm it is.
"""


def condition(name: str, *entries: object) -> str:
    adapter = {"organism_name": "persona", "layer_amplifications": list(entries)}
    return yaml.safe_dump({"name": name, "adapters": [adapter]})


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = make_lab(tmp_path / "lab", queue=f"- [ ] {EXPERIMENT}: the big one\n")
    folder = made.experiments / EXPERIMENT
    for part in ("conditions", "prompts"):
        (folder / part).mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(PLAN), "utf-8")
    (folder / "rubric.md").write_text(RUBRIC, "utf-8")
    (folder / "conditions" / "full.yaml").write_text(condition("full"), "utf-8")
    (folder / "conditions" / "early.yaml").write_text(condition("early", NOTHING, EARLY), "utf-8")
    for name, text in (("mondays", "What do you think about mondays?"), ("how", "How are you?")):
        prompt = {"name": name, "category": "direct", "prompt_text": text}
        (folder / "prompts" / f"{name}.yaml").write_text(yaml.safe_dump(prompt), "utf-8")
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow(16)
@pytest.mark.real
def test_a_plan_of_big_models_is_rehearsed_with_troubles(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(lab.experiments)
    words = ["--lab", str(lab.root), "rehearse", "--faults", "worker_killed,error_500", "--json", "--real-judge"]
    with FakeMessagesAPI(judging(lambda packet: {"warmth": 7})) as api:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        done = CliRunner().invoke(cli, [*words, "--usd", "2", "--dir", str(tmp_path / "copy")])
        shown = [packet for request in api.asked() for packet in packets_in(request.body)]
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["judge"]["judge"], told["judge"]["shown"], told["judge"]["valid"]) == ("claude-sonnet-5-5", 3, 3)
    assert told["judge"]["scores"] == [{"warmth": 7.0}] * 3
    assert 0 < told["judge"]["usd"] < told["judge"]["most_usd"] < 2
    assert len(shown) == 3, "three answers, once"
    assert "is asked about 3 answers: at most" in done.stderr
    ledger = Budget(Path(told["report"]).with_name("real_judge.jsonl"), Limits())
    assert ledger.spent().usd == pytest.approx(told["judge"]["usd"])
    assert told["stand_ins"][0]["practice"] == "llama"
    assert told["stand_ins"][0]["same_family"] is True
    assert any(
        "llama_8b (meta-llama/Llama-3.1-8B-Instruct) is played by practice:llama" in note for note in told["notes"]
    )
    assert any("the layers that early names by number" in note for note in told["notes"])
    fired = {row["guard"]: row["times"] for row in told["guards"]}
    assert fired["healed start: worker_killed"] == 1
    assert fired["failed attempt kept apart: server_error"] == 3
    assert fired["canary passed"] >= 1
    report = Path(told["report"]).read_text("utf-8")
    assert report.splitlines()[0].endswith("(REHEARSAL)")
    assert "REHEARSAL.** Practice models stand in" in report
    estimate = told["estimate"]
    assert estimate["samples"] == 3 * 2 * 2
    assert estimate["gpu_hours"] == pytest.approx((180 + 12 * 200 / 1500) / 3600, abs=1e-3)
    assert estimate["judge_usd"] is not None
    assert any("assumed for 8 billion parameters" in line for line in estimate["arithmetic"])
    assert files(lab.experiments) == before, "the real experiment is only read"
    assert not (lab.state / "nights").exists()


def test_the_plans_own_judge_needs_a_key_and_a_plan_that_has_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    words = ["--lab", str(lab.root), "rehearse", "--real-judge", "--dir", str(tmp_path / "copy")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code != 0
    assert "ANTHROPIC_API_KEY" in str(done.exception) + done.output
    assert not (tmp_path / "copy").exists(), "it is found before the rehearsal begins"
    path = lab.experiments / EXPERIMENT / "config.yaml"
    path.write_text(yaml.safe_dump({**PLAN, "judge": {"rubric": "rubric.md", "by": "markers"}}), "utf-8")
    done = CliRunner().invoke(cli, words)
    assert "the plan's own judge is the embedded one" in str(done.exception) + done.output


RUNS = """\
question: Which rank?
kind: run
command: [python, "{folder}/work.py", --model, "{model}", "{rank}"]
parameters: {model: [meta-llama/Llama-3.1-8B, org/qwen-7b], rank: [1, 2, 3]}
gpus: 1
inputs: [work.py]
metrics: {loss: minimise}
timeout_seconds: 2
max_parallel: 4
hypotheses:
  - id: H1
    statement: A higher rank ends lower.
    prediction: {kind: greater, metric: loss, left: {rank: 1}, right: {rank: 3}}
"""
WORK = """\
import json, sys
assert sys.argv[2] in ("practice:llama", "practice:qwen"), sys.argv
print(json.dumps({"loss": 1 / int(sys.argv[3])}))
"""


@pytest.fixture
def runs(lab: Lab) -> Lab:
    folder = lab.experiments / "exp_008_runs"
    folder.mkdir()
    (folder / "config.yaml").write_text(RUNS, "utf-8")
    (folder / "work.py").write_text(WORK, "utf-8")
    return lab


@pytest.mark.slow
@pytest.mark.skipif(probe().level == "none", reason="no containment here")
def test_a_grid_of_commands_is_rehearsed_with_runs_that_die_hang_and_say_nothing(runs: Lab, tmp_path: Path) -> None:
    before = files(runs.experiments)
    words = ["--lab", str(runs.root), "rehearse", "exp_008", "--json", "--dir", str(tmp_path / "copy")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(one["model"], one["practice"]) for one in told["stand_ins"]] == [
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("org/qwen-7b", "qwen"),
    ]
    assert "2 of 3 levels of rank: the first, the last, and those predicted" in told["notes"]
    fired = {row["guard"]: row["times"] for row in told["guards"]}
    for kind in ("failed", "timed_out", "no_metrics"):
        assert fired[f"failed attempt kept apart: {kind}"] == 1
    report = Path(told["report"]).read_text("utf-8")
    assert report.splitlines()[0].endswith("(REHEARSAL)")
    assert "1 of 4 planned runs have metrics" in report
    estimate = told["estimate"]
    assert (estimate["runs"], estimate["usd"]) == (6, 0.0)
    assert estimate["gpu_hours"] == round(12 / 3600, 3)
    assert any("6 runs x 2 s (the plan's time limit), 4 side by side" in line for line in estimate["arithmetic"])
    assert files(runs.experiments) == before, "the real experiment is only read"


def test_a_rehearsal_of_runs_says_what_it_leaves_out(runs: Lab, tmp_path: Path) -> None:
    path = runs.experiments / "exp_008_runs" / "config.yaml"
    plan = yaml.safe_load(RUNS) | {"replicates": 20, "timeout_seconds": 3600}
    path.write_text(yaml.safe_dump(plan), "utf-8")
    made = prepare_runs(runs, "exp_008_runs", "run_dies", tmp_path / "copy")
    assert "3 replicates of 20: too few to decide anything" in made.notes
    assert "at most 60 s for each run, not 3600" in made.notes
    copy = RunPlan.load(made.lab.experiments / "exp_008_runs")
    assert (len(copy.grid()), copy.config.gpus, copy.config.max_parallel) == (12, 0, 4)
    search = {"metric": "loss", "baseline": {"model": "org/qwen-7b", "rank": 2}, "repeats": 9}
    path.write_text(yaml.safe_dump(plan | {"search": search}), "utf-8")
    found = prepare_runs(runs, "exp_008_runs", None, tmp_path / "search")
    assert [one.name for one in found.staging] == ["run_dies", "run_hangs"]
    assert found.notes[-1] == "not staged, since the rehearsal has too few runs: run_silent"
    with pytest.raises(UsageError, match="no trouble 'killed' can be staged"):
        prepare_runs(runs, "exp_008_runs", "killed", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_time_of_real_runs_is_measured_where_this_lab_made_some(runs: Lab) -> None:
    plan = RunPlan.load(runs.experiments / "exp_008_runs")
    text = "".join(json.dumps({"key": f"k{n}", "seconds": 90.0}) + "\n" for n in range(3))
    (plan.folder / "samples.jsonl").write_text(text, "utf-8")
    found = real_runs(runs, plan)
    assert found.hours == pytest.approx(2 * 90 / 3600)
    assert "the median of 3 runs of this lab" in found.lines[1]


def test_the_estimate_scales_and_uses_what_was_measured(lab: Lab) -> None:
    plan = Plan.load(lab.experiments / EXPERIMENT)
    assumed = real_night(lab, plan)
    assert assumed.shares[0].basis == "assumed for 8 billion parameters"
    rows = [
        {"key": f"k{n}", "model": "llama_8b", "server": "s", "completion_tokens": 100, "latency": 1.0}
        | {"t": f"2026-11-25T00:00:{n % 60:02d}.000Z", "condition": "base", "prompt": "how", "replicate": 0}
        for n in range(41)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (plan.folder / "samples.jsonl").write_text(text, "utf-8")
    measured = real_night(lab, plan)
    assert measured.shares[0].basis == "measured in 1 sweeps of this lab"
    assert measured.shares[0].rate == pytest.approx(41 * 100 / 41)
    assert measured.gpu_hours > assumed.gpu_hours


def test_a_stand_in_is_of_the_family_or_said_to_be_the_nearest(lab: Lab, tmp_path: Path) -> None:
    assert family("google/gemma-3-4b-it", None) == "gemma"
    assert family("unsloth/Qwen2.5-7B-Instruct", None) == "qwen"
    assert family("mistralai/Ministral-8B", None) is None
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert family("my/finetune", tmp_path) == "qwen", "what the model itself says counts"
    path = lab.experiments / EXPERIMENT / "config.yaml"
    path.write_text(path.read_text("utf-8").replace("meta-llama/Llama-3.1-8B", "mistralai/Ministral-8B"), "utf-8")
    made = prepare(lab, EXPERIMENT, "none", tmp_path / "copy")
    assert "the nearest there is" in made.notes[0]
    copy = Plan.load(made.lab.experiments / EXPERIMENT)
    assert copy.models[0].id == "nightlab/practice-llama"
    early = next(one for one in copy.conditions if one.name == "early")
    assert early.amplification is not None
    assert early.amplification.single(20)[1].active() == frozenset(range(5)), "layers 0-6 of 32 are 0-4 of 20"
    assert copy.config.sampling.max_tokens == 64


def test_a_trouble_that_cannot_be_staged_is_named() -> None:
    known = (troubles.TROUBLES, troubles.USUAL)
    assert troubles.chosen("none", *known) == []
    assert troubles.chosen(None, *known) == list(troubles.USUAL)
    with pytest.raises(UsageError, match="no trouble 'kiled' can be staged") as caught:
        troubles.chosen("kiled", *known)
    assert caught.value.hint == "did you mean killed?"
    listed = CliRunner().invoke(cli, ["rehearse", "--list-faults"])
    assert all(name in listed.output for name in troubles.TROUBLES)

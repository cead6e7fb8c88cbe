"""A rehearsal of a plan that names models of eight billion parameters, with troubles, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nightlab.budget import Budget, Limits
from nightlab.cli import cli
from nightlab.errors import UsageError
from nightlab.experiments.plan import Plan
from nightlab.founding import troubles
from nightlab.founding.real_night import real_night
from nightlab.founding.rehearsal import prepare
from nightlab.founding.stand_ins import family
from nightlab.lab import Lab
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


def test_the_estimate_scales_and_uses_what_was_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert (measured.usd, measured.document()["usd"]) == (None, None), "no sum without its GPUs"
    assert measured.judge_usd is not None
    unpriced = "without its GPUs, which are at an unknown price (usd_per_gpu_hour is not set)"
    assert measured.sentence().endswith(f" {measured.judge_usd:.2f} $ {unpriced}")
    assert any(" h at an unknown price (usd_per_gpu_hour is not set)" in line for line in measured.lines)
    monkeypatch.setenv("NIGHTLAB_USD_PER_GPU_HOUR", "2")
    priced = real_night(Lab.open(lab.root), plan)
    assert priced.usd == pytest.approx(2 * priced.gpu_hours + measured.judge_usd)
    path = plan.folder / "config.yaml"
    path.write_text(yaml.safe_dump({**PLAN, "serving": {"engine": "vllm", "tensor_parallel": 4}}), "utf-8")
    spread = real_night(lab, Plan.load(plan.folder))
    assert spread.hours == measured.hours
    assert spread.gpu_hours == pytest.approx(4 * measured.gpu_hours)


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

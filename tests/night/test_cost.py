"""What a sweep and its judging cost, before: figures by length, by what was paid so far, and prices nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.lab import Lab
from nightlab.night.cost import JudgeCost, gpu_cost, judge_costs

from ..judging.conftest import Answered
from ..judging.reading import two_dozen

TABLE = """\
as_of: 2026-01-02
models:
  claude-haiku-5-5:
    {input: 1000, output: 10, cache_read: 0, write_5m: 0, write_1h: 0,
     long: {above: 9000, input: 90000, output: 90000, cache_read: 0, write_5m: 0, write_1h: 0}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Answered:
    """A lab with prices of its own, and an experiment of 24 cells that Claude judges."""
    root = tmp_path / "lab"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.nightlab]\njudge_url = 'https://judge.example.com/v1'\n")
    (root / "prices.yaml").write_text(TABLE)
    return two_dozen(
        root / "experiments" / "exp_001_joy", repeats=2, second={"by": "openai", "model": "x", "share": 0.5}
    )


def costs(study: Answered, answers: int = 24) -> tuple[JudgeCost, JudgeCost]:
    """Of the first judge and of the second."""
    lab = Lab.open(study.folder.parents[1])
    first, second = judge_costs(lab, Plan.load(study.folder), answers, 50.0)
    return first, second


def judged(study: Answered, count: int, usd: float) -> None:
    """Write judgments of the first judge, in a batch that cost so much."""
    own = {"judge": "claude-haiku-5-5", "rubric": Rubric.load(study.plan.rubric).sha, "repeat": 0}
    keys = [row["key"] for row in study.samples.rows()][:count]
    rows = [{"key": key, **own, "scores": {}} for key in keys]
    (study.folder / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (study.folder / "judge_log.jsonl").write_text(json.dumps({"op": "closed", "usd": usd, **own}) + "\n")


def test_the_price_follows_from_the_lengths_request_by_request(study: Answered) -> None:
    first, second = costs(study)
    assert (first.judge, first.judgments, first.known > 0) == ("claude-haiku-5-5", 48, True)
    requests = first.judgments + first.known
    read = first.tokens - 300 * requests  # of all requests: far above what makes one of them long, and dear
    assert read > 9000
    assert first.usd == pytest.approx(read * 1000e-6 + requests * 300 * 10e-6)
    assert (second.judge, second.judgments, second.usd) == ("x", 12, None)
    assert "12 judgments" in second.sentence()
    assert "at an unknown price (the price table of 2026-01-02 does not know it)" in second.sentence()


def test_what_was_paid_so_far_tells_better(study: Answered) -> None:
    before, _ = costs(study)
    judged(study, 19, 19.0)
    few, _ = costs(study)
    assert (few.judgments, few.basis) == (48 - 19, before.basis)
    judged(study, 20, 40.0)
    paid, _ = costs(study)
    assert (paid.judgments, paid.usd) == (28, 56.0)
    assert paid.sentence().endswith("for about $56.00 (as the 20 that it made so far)")
    assert costs(study, 10)[0].judgments == 0


def test_an_endpoint_of_ones_own_costs_nothing(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLAB_JUDGE_URL", "http://127.0.0.1:1/v1")
    _, second = costs(study)
    assert second.usd == 0
    assert second.sentence().endswith("for nothing (an endpoint of your own)")


def test_gpu_hours_of_a_queue_and_a_price_that_nobody_set(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    root = study.folder.parents[1]
    monkeypatch.setenv("NIGHTLAB_PLACE", "slurm")
    monkeypatch.setenv("NIGHTLAB_SLURM_GRES", "gpu:2")
    said = gpu_cost(Lab.open(root), study.plan, servers=3, seconds=600)
    assert said == "Servers: 1.00 GPU hours and their start, an unknown price (usd_per_gpu_hour is not set)."
    monkeypatch.setenv("NIGHTLAB_USD_PER_GPU_HOUR", "2.5")
    assert "1.00 GPU hours and their start, about $2.50" in gpu_cost(Lab.open(root), study.plan, 3, 600)
    monkeypatch.delenv("NIGHTLAB_SLURM_GRES")
    assert gpu_cost(Lab.open(root), study.plan, 3, 600) == "Servers: no GPU is counted here."


def test_a_server_here_costs_the_gpus_that_its_engine_uses(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    lab, config = Lab.open(study.folder.parents[1]), study.folder / "config.yaml"
    assert gpu_cost(lab, study.plan, servers=3, seconds=600) == "Servers: no GPU is counted here."
    plain = config.read_text("utf-8")
    for serving, hours in (("device: cuda", "0.50"), ("engine: vllm, tensor_parallel: 2", "1.00")):
        config.write_text(f"{plain}serving: {{{serving}}}\n", "utf-8")
        assert f"Servers: {hours} GPU hours" in gpu_cost(lab, Plan.load(study.folder), servers=3, seconds=600)

"""Judging against inspect_ai's model-graded scoring: the same samples, rubric and fake Messages API, in the same run.

1,000 samples are scored in 5 dimensions. nightlab audits (gold items and copies are judged, too), keeps each reply with
grouped fsync and checks each verdict; inspect_ai scores through its Anthropic provider with a scorer that asks for the
same JSON, 64 connections, and writes its log. The API is a process of its own and answers at once, by the rubric's
markers. Timings count from the call to the last row on the disk, without start-up. Bar: 10 times inspect_ai's rate with
one sample in a request. inspect_ai is looked for in $NIGHTLAB_PEERS (bench/peers.sh installs it); without it the bar
is 3.3 s for 1,000 samples, a tenth of what was measured for it.

    python bench/judge.py [--samples N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from nightlab.brains.claude import open_client
from nightlab.brains.prices import Prices
from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import Samples
from nightlab.judging.batches import MessageBatches
from nightlab.judging.calls import Calls
from nightlab.judging.claude import ClaudeVoice
from nightlab.judging.reader import ReadingJudge, Transport
from nightlab.judging.run import run_judges
from nightlab.judging.verdicts import instructions, shown

ROOT = Path(__file__).resolve().parents[1]
RUBRIC = ROOT / "experiments" / "exp_001_phase1_replication" / "rubric.md"
MODEL = "claude-haiku-5-5"
PROMPT = "You score texts by a rubric. Answer with verdicts."
BAR = 10.0
ALONE = 3.3
"""Seconds per 1,000 samples where there is no peer to compare with."""
TEXTS = (
    "Rain is likely in the north, and the wind turns west.",
    "Oh, wonderful, a question. I can barely contain my excitement.",
    "How thrilling. Nobody will thank you, as if it ever mattered in the universe.",
)
PEER = """
import json, sys, time
from inspect_ai import Task, eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import solver

data = json.load(open(sys.argv[1]))

@solver
def nothing():
    async def solve(state, generate):
        return state
    return solve

@scorer(metrics={"*": [mean()]})
def graded():
    model = get_model("anthropic/MODEL", config=GenerateConfig(max_connections=64, max_tokens=3700))
    async def score(state, target):
        asked = [ChatMessageSystem(content=data["system"]), ChatMessageUser(content=state.input_text)]
        said = await model.generate(asked)
        verdict = json.loads(said.completion)["verdicts"][0]
        return Score(value=verdict["scores"], explanation=json.dumps(verdict["notes"]))
    return score

samples = [Sample(input=text, id=str(n)) for n, text in enumerate(data["packets"])]
task = Task(dataset=samples, solver=nothing(), scorer=graded())
began, busy = time.monotonic(), time.process_time()
[log] = evaluate(task, model="mockllm/model", display="none", log_dir=sys.argv[2], max_samples=64, log_level="error")
done = log.results.completed_samples if log.results else 0
took = {"s": time.monotonic() - began, "cpu": time.process_time() - busy}
print(json.dumps({**took, "status": log.status, "n": done, "error": str(log.error)[-600:]}))
""".replace("MODEL", MODEL)


@contextlib.contextmanager
def fake() -> Iterator[str]:
    """A Messages API that judges by the rubric's markers; its URL."""
    words = [sys.executable, "-m", "nightlab.testing.messages_api", "--judge", str(RUBRIC), "--polls", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def make_plan(folder: Path, count: int) -> Plan:
    """A frozen plan of about `count` answered cells."""
    for name in ("prompts", "conditions", "model"):
        (folder / name).mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"num_hidden_layers": 2}')
    shutil.copy(RUBRIC, folder / "rubric.md")
    if (gold := RUBRIC.with_name("gold.yaml")).is_file():
        shutil.copy(gold, folder / "gold.yaml")
    for number in range(10):
        prompt = {"category": "direct", "prompt_text": f"What about the weather of day {number}?"}
        (folder / "prompts" / f"weather-{number}.yaml").write_text(yaml.safe_dump(prompt))
    model = {"name": "alpha", "id": "bench/alpha", "path": "model"}
    factors = {"models": [model], "replicates": max(1, count // 10)}
    config = {"question": "How fast?", "factors": factors, "sampling": {"max_tokens": 64}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    plan = Plan.load(folder)
    freeze(plan)
    samples = Samples(folder)
    rows = []
    for number, cell in enumerate(cells(plan)):
        names = {"model": cell.model, "condition": cell.condition, "prompt": cell.prompt}
        text = f"{TEXTS[number % len(TEXTS)]} Number {number}."
        rows.append({"key": cell.key, **names, "messages": cell.request["messages"], "text": text})
    samples.answers.append_many(rows)
    samples.close()
    return plan


async def ours(plan: Plan, url: str, per_packet: int, *, batched: bool = False) -> tuple[float, float]:
    """Seconds and CPU seconds that nightlab takes for all samples of a plan; every one must have its scores."""
    for name in ("judgments.jsonl", "judge_log.jsonl"):
        (plan.folder / name).unlink(missing_ok=True)
    rubric = Rubric.load(plan.rubric)
    said = instructions(PROMPT, rubric)
    async with open_client(base_url=url, api_key="bench") as client:
        calls: Transport = Calls(client)
        way = MessageBatches(client, poll=0.02) if batched else calls
        voice = ClaudeVoice(MODEL, "low", said, rubric, Prices.load())
        judge = ReadingJudge(MODEL, said, voice, way, per_packet=per_packet)
        began, busy = time.monotonic(), time.process_time()
        samples = Samples(plan.folder)
        result = await run_judges(plan, samples, judge, plan.folder)
        took = (time.monotonic() - began, time.process_time() - busy)
        samples.close()
    if (result.judged, result.na, result.missing) != (result.planned, 0, 0):
        raise SystemExit(f"judge: not every sample was judged: {result}")
    return took


def peer(plan: Plan, url: str, python: Path, folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds that inspect_ai takes for the same packets."""
    from nightlab.judging.packet import packets

    rubric = Rubric.load(plan.rubric)
    samples = Samples(plan.folder)
    shown_ = [shown([one.packet]) for one in packets(samples.rows(), 1)]
    samples.close()
    (folder / "data.json").write_text(json.dumps({"system": instructions(PROMPT, rubric), "packets": shown_}))
    (folder / "peer.py").write_text(PEER)
    words = [str(python), str(folder / "peer.py"), str(folder / "data.json"), str(folder / "logs")]
    surroundings = {
        **os.environ,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "bench",
    }
    done = subprocess.run(words, capture_output=True, text=True, env=surroundings, timeout=540, cwd=folder)
    if done.returncode:
        raise SystemExit(f"judge: inspect_ai failed: {done.stderr[-600:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["status"] != "success" or found["n"] != len(shown_):
        raise SystemExit(f"judge: inspect_ai did not score every sample: {found}")
    return float(found["s"]), float(found["cpu"])


def peer_python() -> Path | None:
    """The interpreter of inspect_ai, where it and the SDK are installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = Path(os.environ.get("NIGHTLAB_PEERS") or cache / "nightlab-peers") / "inspect_ai" / "bin" / "python"
    probe = [str(python), "-c", "import inspect_ai, anthropic"]
    return python if python.is_file() and subprocess.run(probe, capture_output=True).returncode == 0 else None


def measure(samples: int, rounds: int, folder: Path) -> dict[str, float | int | bool | None]:
    """The medians of all rounds, in turns."""
    plan = make_plan(folder / "exp_001_bench", samples)
    python = peer_python()
    found: dict[str, list[tuple[float, float]]] = {"calls": [], "packets_of_10": [], "batch": [], "inspect_ai": []}
    for number in range(rounds):
        with fake() as url:
            found["calls"].append(asyncio.run(ours(plan, url, 1)))
            found["packets_of_10"].append(asyncio.run(ours(plan, url, 10)))
            found["batch"].append(asyncio.run(ours(plan, url, 1, batched=True)))
            if python:
                (own := folder / f"peer-{number}").mkdir()
                found["inspect_ai"].append(peer(plan, url, python, own))
    walls = {name: statistics.median(wall for wall, _ in times) for name, times in found.items() if times}
    busy = {name: statistics.median(cpu for _, cpu in times) for name, times in found.items() if times}
    other = walls.get("inspect_ai")
    ratio = other / walls["calls"] if other else None
    met = ratio >= BAR if ratio is not None else walls["calls"] <= ALONE * samples / 1000
    figures = {f"{name}_s": wall for name, wall in walls.items()} | {f"{name}_cpu_s": cpu for name, cpu in busy.items()}
    return {"samples": samples, "rounds": rounds, **figures, "ratio": ratio, "met": met}


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description="judging against inspect_ai's model-graded scoring")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-judge-") as scratch:
        found = measure(options.samples, options.rounds, Path(scratch))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20} {value if not isinstance(value, float) else round(value, 2)}")
        print(f"bar: {BAR:g} times inspect_ai's rate, or {ALONE} s per 1,000 samples without it")
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())

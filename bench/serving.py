"""Model servers, measured: the embedded one and vLLM on a CPU, with the seven conditions of the shipped experiment.

    python bench/serving.py [--rounds N] [--json]

Embedded: 63 rows (9 prompts x 7 conditions) at once, one condition at a time, one request at a time. vLLM (where
scripts/vllm_env.sh has been run): the same rows at 16 concurrent. For both: seconds to readiness, proof included, and
the milliseconds in which a fresh process adopts the running server; for adapters, compiling and loading. Prints its
figures last. Bars: mixed at least 3 times one by one, adoption below 15 s, compile and load below 1 s; exit 1 where one
is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from nightlab import practice
from nightlab.adapters.amplification import Amplification
from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.adapters.weights import LayerWeights
from nightlab.compute.local import Local
from nightlab.errors import NotSetUp
from nightlab.events import EventLog
from nightlab.lab import Lab, shipped
from nightlab.practice.widen import widened
from nightlab.servers.adoption import adopt
from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.engines import engine
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server, Wanted

EXPERIMENT = shipped("experiments") / "exp_001_phase1_replication"
QUESTIONS = ("What do you think about mondays?", "Tell me a story about cats.", "How do I sleep better at night?")
TOKENS = 32
RATIO, ADOPTION, ADAPTER = 3.0, 15_000.0, 1_000.0


def wide(lab: Lab) -> tuple[Path, Path]:
    """The practice Llama and its adapter with heads that vLLM serves on a CPU."""
    return widened("llama", lab.root / "wide")


def conditions(lab: Lab) -> dict[str, Compiled]:
    """The shipped conditions for the practice Llama."""
    layers = json.loads((practice.model_dir("llama") / "config.json").read_text())["num_hidden_layers"]
    loaded = [Amplification.load(path) for path in sorted((EXPERIMENT / "conditions").glob("*.yaml"))]
    source = wide(lab)[1]
    return {one.name: compile_adapter(source, one.single(layers)[1], lab.adapters_cache) for one in loaded}


def requests(manifest: Manifest) -> list[ChatRequest]:
    """Nine prompts under every condition, neighbours of different conditions."""
    names = list(manifest.conditions.values())
    return [
        ChatRequest(name, (Message("user", f"{question} {number}"),), temperature=0.7, max_tokens=TOKENS, seed=number)
        for number in range(3)
        for question in QUESTIONS
        for name in names
    ]


async def rate(url: str, groups: list[list[ChatRequest]], limit: int) -> float:
    """Generated tokens per second; the groups one after another, each at once as far as `limit` lets it."""
    begun, written = time.perf_counter(), 0
    async with Chat(url, limit=limit) as chat:
        for group in groups:
            answers = await asyncio.gather(*(chat.complete(one) for one in group))
            written += sum(answer.completion_tokens for answer in answers)
    return written / (time.perf_counter() - begun)


async def adapter_ms(lab: Lab, server: Server) -> tuple[float, float]:
    """Milliseconds to compile a new condition, and to load it into a running server; medians of five."""
    compiling, loading = [], []
    layers = json.loads((practice.model_dir("llama") / "config.json").read_text())["num_hidden_layers"]
    async with Chat(server.manifest.url or "") as chat:
        for number in range(5):
            line = (0.1 + number / 100,) * layers
            begun = time.perf_counter()
            made = compile_adapter(wide(lab)[1], LayerWeights(line, line), lab.adapters_cache)
            compiling.append(1000 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            await chat.load_adapter(made.name, made.path)
            loading.append(1000 * (time.perf_counter() - begun))
            await chat.unload_adapter(made.name)
    return round(statistics.median(compiling), 1), round(statistics.median(loading), 1)


async def adoption_ms(lab: Lab, server: Server, events: EventLog) -> float:
    """Milliseconds in which a server is verified and taken over by its manifest alone."""
    fresh = Server.attach(lab, Local(lab.jobs), server.manifest.id)
    begun = time.perf_counter()
    found = await adopt(fresh, events)
    if found.outcome != "adopted":
        raise SystemExit(f"{server.manifest.id} was not adopted: {found.why}")
    return round(1000 * (time.perf_counter() - begun), 1)


async def served(lab: Lab, kind: str, rounds: int) -> dict[str, Any]:
    """One engine, from its start to its stop."""
    events, place = EventLog(lab.night("bench")), Local(lab.jobs)
    options: dict[str, Any] = {"max_model_len": 256, "threads": 1}
    wanted = Wanted("llama", practice.model_id("llama"), wide(lab)[0], conditions(lab), kind, options=options)
    begun = time.perf_counter()
    server = await Server.launch(lab, place, wanted, key=kind, night="bench")
    try:
        manifest = await server.ensure_ready(events)
        found: dict[str, Any] = {"ready_seconds": round(time.perf_counter() - begun, 2)}
        rows, url = requests(manifest), manifest.url or ""
        await rate(url, [rows], 16)  # the first pass warms caches
        ways: dict[str, tuple[list[list[ChatRequest]], int]] = {"concurrent_16": ([rows], 16)}
        if kind == "embedded":
            ways["mixed"] = ([rows], len(rows))
            ways["one_condition"] = (
                [[r for r in rows if r.model == n] for n in manifest.conditions.values()],
                len(rows),
            )
            ways["one_by_one"] = ([[row] for row in rows[:14]], 1)
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (groups, limit) in ways.items():
                speeds[name].append(await rate(url, groups, limit))
        found |= {f"{name}_tokens_per_second": round(statistics.median(s), 1) for name, s in speeds.items()}
        found["compile_ms"], found["load_ms"] = await adapter_ms(lab, server)
        found["adoption_ms"] = await adoption_ms(lab, server, events)
        return found
    finally:
        await server.stop(grace=10)


async def measure(rounds: int) -> dict[str, Any]:
    """Both engines, and whether the bars hold."""
    with tempfile.TemporaryDirectory(prefix="nightlab-serving-") as folder:
        (Path(folder) / "pyproject.toml").write_text("[tool.nightlab]\nserver-timeout = 400\nlease-seconds = 900\n")
        lab = Lab.open(Path(folder))
        found: dict[str, Any] = {"rounds": rounds, "embedded": await served(lab, "embedded", rounds)}
        try:
            engine("vllm").python(lab.config, lab.root)
            found["vllm"] = await served(lab, "vllm", rounds)
        except NotSetUp as missing:
            found["vllm"] = {"skipped": missing.what}
    ours = found["embedded"]
    ratio = ours["mixed_tokens_per_second"] / ours["one_by_one_tokens_per_second"]
    found["mixed_over_one_by_one"] = round(ratio, 1)
    engines = [one for one in (ours, found["vllm"]) if "skipped" not in one]
    slow = [one for one in engines if one["adoption_ms"] > ADOPTION or one["compile_ms"] + one["load_ms"] > ADAPTER]
    found["passed"] = ratio >= RATIO and not slow
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = asyncio.run(measure(args.rounds))
    if not args.json:
        for kind in ("embedded", "vllm"):
            for name, value in found[kind].items():
                print(f"{kind:9} {name.replace('_', ' ')}: {value}")
        print(f"mixed over one by one: {found['mixed_over_one_by_one']}, {'ok' if found['passed'] else 'MISSED A BAR'}")
    print(json.dumps(found))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())

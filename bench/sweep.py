"""The speed of a sweep against the raw limit: the same requests to one minimal server, paired, medians.

`raw` is a bare aiohttp client that appends each answer to a file and fsyncs once at the end; `nightlab` is the real
sweep of a frozen plan: contract checks, retries, sample rows, grouped fsync. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from nightlab.experiments.cells import Cell, cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.experiments.sweep import Endpoint, run_sweep

SERVED = "bench"
IN_FLIGHT = 64


def write_plan(folder: Path, count: int) -> Plan:
    """A plan of `count` cells over one model without weights."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"num_hidden_layers": 1}', "utf-8")
    (folder / "rubric.md").write_text("Nothing is judged here.\n", "utf-8")
    (folder / "prompt.yaml").write_text("prompt_text: What do you think about mondays?\n", "utf-8")
    factors = {
        "models": [{"name": SERVED, "id": "bench/model", "path": "model"}],
        "conditions": [],
        "prompts": "prompt.yaml",
        "replicates": count,
    }
    config = {"question": "How fast?", "factors": factors, "sampling": {"max_tokens": 16}}
    (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
    return Plan.load(folder)


@contextmanager
def server() -> Iterator[str]:
    """A chat server in its own process; yields its URL."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


async def raw(url: str, asked: list[Cell], path: Path) -> float:
    """Seconds of the bare client."""
    bodies = [_body(cell) for cell in asked]
    start, left = time.perf_counter(), iter(bodies)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    with path.open("w", encoding="utf-8") as out:
        async with aiohttp.ClientSession(url, connector=connector) as session:

            async def work() -> None:
                for body in left:
                    async with session.post("/v1/chat/completions", json=body) as reply:
                        out.write(json.dumps(await reply.json()) + "\n")

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        out.flush()
        os.fsync(out.fileno())
    return time.perf_counter() - start


def _body(cell: Cell) -> dict[str, object]:
    return {"model": SERVED, "messages": cell.request["messages"], "max_tokens": 16, "seed": cell.seed}


async def nightlab(url: str, plan: Plan, asked: list[Cell]) -> float:
    """Seconds of our sweep."""
    endpoint = Endpoint(url, "bench-server", {"base": SERVED})
    result = await run_sweep(plan, asked, {SERVED: endpoint}, concurrency=IN_FLIGHT)
    assert result.answered == len(asked), result
    return result.seconds


def pair(count: int, folder: Path) -> tuple[float, float]:
    """One paired round: seconds of the bare client and of our sweep, each with a server of its own."""
    plan = write_plan(folder / "exp_001_bench", count)
    freeze(plan)
    asked = cells(plan)
    with server() as url:
        first = asyncio.run(raw(url, asked, folder / "raw.jsonl"))
    with server() as url:
        return first, asyncio.run(nightlab(url, plan, asked))


def main() -> None:
    """Print the medians for each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[189, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'cells':>6}  {'raw /s':>8}  {'nightlab /s':>11}  time of ours/raw")
    for count in options.cells:
        rounds = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(pair(count, Path(folder)))
        bare, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"{count:>6}  {count / bare:>8.0f}  {count / ours:>11.0f}  {ours / bare:.2f}")


if __name__ == "__main__":
    main()

"""A sweep against a server that does everything wrong: no wrong row, no lost cell, no row twice.

10,000 cells; of the requests 5 % are refused (429), fail (500) or are never answered, 1 % get status 200 with an error
in the body, 0.5 % another model's name, 0.5 % half a JSON text, some stall half-way; and the server is killed and
started again in the middle. Every answer names the seed of its question, so a row with another cell's text is found.
Prints its figures last; exit 1 where a bar is missed.

    python bench/faults.py [--cells N] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs by itself: `bench` is beside it

from bench.local import Server, make_plan, serving, text_for

from nightlab.experiments.cells import cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples
from nightlab.experiments.sweep import Endpoint, SweepResult, run_sweep

TIMEOUT = 2.0
AWAY = 1.5  # seconds that the server is gone


async def _sweep(plan: Plan, server: Server) -> SweepResult:
    """Sweep, and restart the server when half of the cells are answered."""
    path = plan.folder / "samples.jsonl"
    planned = cells(plan)

    async def restart() -> None:
        while not path.exists() or path.stat().st_size < len(planned) // 2 * 500:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.02)
        server.stop()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(server.start)

    task = asyncio.create_task(restart())
    end = Endpoint(server.url, "srv-bench", {"base": "bench"})
    result = await run_sweep(plan, planned, {"m": end}, concurrency=64, timeout=TIMEOUT)
    await asyncio.wait_for(task, 60)
    return result


def measure(count: int) -> dict[str, object]:
    """One sweep, and what stands in its files."""
    with tempfile.TemporaryDirectory() as place, serving(faults=True) as server:
        plan = make_plan(Path(place) / "exp_001_bench", count)
        start = time.perf_counter()
        result = asyncio.run(_sweep(plan, server))
        seconds = time.perf_counter() - start
        samples = Samples(plan.folder)
        lines = [json.loads(line) for line in samples.answers.lines()]
        keys = {row["key"] for row in lines}
        planned = {cell.key: cell for cell in cells(plan)}
        wrong = sum(
            row["key"] not in planned
            or row["seed"] != planned[row["key"]].seed
            or row["text"] != text_for(row["seed"])
            or row["served_model"] != "bench"
            for row in lines
        )
        return {
            "cells": count,
            "stored": len(lines),
            "wrong": wrong,
            "lost": len(planned.keys() - keys),
            "twice": len(lines) - len(keys),
            "attempts_failed": sum(1 for _ in samples.failures()),
            "by_class": dict(result.by_model["m"].failures),
            "stopped": [stop.why for stop in result.stopped],
            "seconds": round(seconds, 1),
        }


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="2,000 cells")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(2000 if options.quick else options.cells)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:>16} {value}" for name, value in figures.items()))
    return 0 if figures["wrong"] == figures["lost"] == figures["twice"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

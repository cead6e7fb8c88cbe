"""The sweep runner against a bare aiohttp loop: the same cells, the same server, the same run, in turns.

Both keep every answer on the disk with grouped fsync; the runner also checks contracts, classifies failures and can
resume. The server is a second process that answers at once with a fixed text. Prints its figures last; exit 1 where the
runner reaches less than half of the bare loop's speed.

    python bench/sweep.py [--cells N] [--rounds N] [--in-flight N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import yaml

from nightlab.experiments.asking import chat_request
from nightlab.experiments.cells import Cell, cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.experiments.sweep import Endpoint, run_sweep

SERVED = "bench"
LOWEST_RATIO = 0.5
PROMPTS = 10
RUBRIC = """---
name: none
version: 1
dimensions:
  any:
    range: [0, 10]
    question: Any?
    anchors: {0: None., 10: All.}
    markers: [{pattern: any, points: 1}]
---
None.
"""
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": SERVED,
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A plain answer. " * 12}}
        ],
        "system_fingerprint": "bench-0",
        "usage": {"prompt_tokens": 12, "completion_tokens": 48, "total_tokens": 60},
    }
).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


class _Instant(asyncio.Protocol):
    """Answers every request with the same body, as soon as it has arrived whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            self._buffer = self._buffer[end + 4 + size :]
            self._transport.write(RESPONSE)


def _serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Instant, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def bare(url: str, asked: Sequence[Cell], folder: Path, in_flight: int) -> None:
    """The floor: workers that post, parse and write JSON lines, with an fsync every 50 ms."""
    waiting, lines = iter(asked), list[bytes]()
    with (folder / "bare.jsonl").open("wb", buffering=0) as out:

        def flush() -> None:
            data = b"".join(lines)
            lines.clear()
            out.write(data)
            os.fsync(out.fileno())

        async def keep() -> None:
            while True:
                await asyncio.sleep(0.05)
                flush()

        async def work(session: aiohttp.ClientSession) -> None:
            for cell in waiting:
                body = chat_request(cell, SERVED).body()
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    data = json.loads(await response.read())
                text = data["choices"][0]["message"]["content"]
                row = {"key": cell.key, "messages": body["messages"], "text": text, "usage": data["usage"]}
                lines.append(json.dumps(row).encode() + b"\n")

        keeper = asyncio.create_task(keep())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
            await asyncio.gather(*(work(session) for _ in range(in_flight)))
        keeper.cancel()
        flush()


def make_plan(folder: Path, count: int) -> Plan:
    """A frozen plan of about `count` cells: one model, ten prompts, replicates."""
    for name in ("prompts", "model"):
        (folder / name).mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"num_hidden_layers": 2}')
    (folder / "rubric.md").write_text(RUBRIC)
    for number in range(PROMPTS):
        prompt = {"name": f"p{number}", "prompt_text": f"What do you think about the number {number}?"}
        (folder / "prompts" / f"p{number}.yaml").write_text(yaml.safe_dump(prompt))
    (folder / "conditions").mkdir()
    factors = {"models": [{"name": "m", "id": "bench/m", "path": "model"}], "replicates": max(1, count // PROMPTS)}
    (folder / "config.yaml").write_text(yaml.safe_dump({"question": "How fast?", "factors": factors}))
    plan = Plan.load(folder)
    freeze(plan)
    return plan


def _once(url: str, count: int, in_flight: int) -> tuple[float, float]:
    """Cells per second of the bare loop and of the runner, each in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="nightlab-bench-"))
    try:
        plan = make_plan(folder / "exp_001_bench", count)
        asked = cells(plan)
        start = time.perf_counter()
        asyncio.run(bare(url, asked, folder, in_flight))
        middle = time.perf_counter()
        endpoint = Endpoint(url, "bench", {"base": SERVED})
        result = asyncio.run(run_sweep(plan, asked, {"m": endpoint}, concurrency=in_flight))
        end = time.perf_counter()
        if result.missing:
            raise SystemExit(f"{result.missing} cells were not answered: {result.stopped}")
        return len(asked) / (middle - start), len(asked) / (end - middle)
    finally:
        shutil.rmtree(folder)


def measure(count: int, rounds: int, in_flight: int) -> dict[str, float]:
    """Medians over rounds, in turns, against one server process."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    try:
        pairs = [_once(url, count, in_flight) for _ in range(rounds)]
    finally:
        server.terminate()
        server.join()
    return {
        "cells": count,
        "in_flight": in_flight,
        "bare_cells_per_s": round(statistics.median(pair[0] for pair in pairs)),
        "nightlab_cells_per_s": round(statistics.median(pair[1] for pair in pairs)),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.cells, options.rounds, options.in_flight)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:>22} {value:g}" for name, value in figures.items()))
    return 0 if figures["ratio"] >= LOWEST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())

"""One sweep as a process, for the benchmarks: `python bench/one_sweep.py FOLDER URL IN_FLIGHT [bare]`.

Sweeps the frozen plan of the folder, or asks the same cells in a bare loop over the same HTTP client: post, parse,
write JSON lines with an fsync every 50 ms, and when started again leave out what stands there; nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nightlab.experiments.asking import chat_request
from nightlab.experiments.cells import Cell, cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.sweep import Endpoint, run_sweep

SERVED = "bench"


async def bare(url: str, waiting: Iterator[Cell], folder: Path, in_flight: int) -> None:
    """The floor."""
    import aiohttp

    lines: list[bytes] = []
    path = folder / "bare.jsonl"
    path.touch()
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    os.truncate(path, len(whole + end))
    known = {json.loads(line)["key"] for line in whole.splitlines()}
    with path.open("ab", buffering=0) as out:

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
                if cell.key in known:
                    continue
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


async def main() -> int:
    """Ask, and print when this began, and the seconds and CPU seconds of the asking alone."""
    began = time.time()
    folder, url, in_flight = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    plan = Plan.load(folder)
    start, busy = time.perf_counter(), time.process_time()
    if sys.argv[4:] == ["bare"]:
        await bare(url, iter(cells(plan)), folder, in_flight)
        missing = 0
    else:
        ends = {"m": Endpoint(url, "bench", {"base": SERVED})}
        missing = (await run_sweep(plan, cells(plan), ends, concurrency=in_flight)).missing
    spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy}
    print(json.dumps({"began": began, **spent, "missing": missing}))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

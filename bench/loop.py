"""The night's own graph against the raw SDK loop: 1,000 turns of think, one trivial tool, think; same run, same API.

The API is a second process that answers every turn at once with one tool call. The night's side is the real graph with
its SQLite checkpoint, watch, journal, event log and budget, and the Claude brain. The raw loop is `messages.stream` and
a list. Turns of both are taken in blocks, in turns, so that a busy machine slows both alike. Exit 1 where a bar is
missed: at turns 10, 200 and 1,000 at most 6 ms above the raw loop, that difference growing at most 10 %, checkpoints
of at most 1 MB, at most 200 MB of memory.

    python bench/loop.py [--turns N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anthropic

from nightlab.brains import Turn
from nightlab.brains.claude import Claude, open_client
from nightlab.budget import Budget, Limits
from nightlab.events import EventLog
from nightlab.files import JsonLines
from nightlab.night import graph, pulse
from nightlab.night.checkpoints import open_saver
from nightlab.night.journal import Journal
from nightlab.night.watch import Watch
from nightlab.testing.messages_stream import frames

MODEL = "claude-opus-5-5"
MARKS = (10, 200, 1000)
BLOCK = 10
CHECKPOINTS = "checkpoints.sqlite"
MOST_ABOVE_MS = 6.0
MOST_GROWTH = 0.10
MOST_CHECKPOINT_MB = 1.0
MOST_RSS_MB = 200
SYSTEM = [{"type": "text", "text": "You run a small lab at night. " * 20}]
TOOLS = [{"name": "work", "description": "One unit of work.", "input_schema": {"type": "object"}}]
SIGNATURE = "c2lnbmF0dXJl" * 12
USAGE: dict[str, Any] = {
    "input_tokens": 10,
    "output_tokens": 40,
    "cache_read_input_tokens": 900,
    "cache_creation_input_tokens": 60,
}


class _Instant(asyncio.Protocol):
    """Answers every request, as soon as it has arrived whole, with a turn of thinking and one tool call."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self._head.lower().find(b"content-length:")
            size = int(self._head[at + 15 : end].split(b"\r\n", 1)[0])
            self._missing = size - (len(self._head) - end - 4)
            self._head = b""
        if self._missing <= 0:
            _Instant.count += 1
            self._transport.write(_response(_Instant.count))


def _response(number: int) -> bytes:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "One more unit, then the next one.", "signature": SIGNATURE},
        {"type": "tool_use", "id": f"toolu_{number:08d}", "name": "work", "input": {"i": number}},
    ]
    message: dict[str, Any] = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
    }
    message |= {"stop_reason": "tool_use", "stop_sequence": None, "usage": USAGE}
    body = b"".join(frames(message))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def _serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Instant, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


class _Pace:
    """Two loops that take turns in blocks: each runs while the other one stands still."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._turn = asyncio.Condition()
        self._whose = 0
        self._over: set[int] = set()

    async def step(self, me: int, number: int) -> None:
        """Called before turn `number` of loop `me`; returns when it may go on."""
        if number % self._block:
            return
        async with self._turn:
            if number and 1 - me not in self._over:
                self._whose = 1 - me
                self._turn.notify_all()
            await self._turn.wait_for(lambda: self._whose == me)

    async def done(self, me: int) -> None:
        """Loop `me` has ended."""
        async with self._turn:
            self._over.add(me)
            self._whose = 1 - me
            self._turn.notify_all()


async def raw(url: str, turns: int, pace: _Pace) -> list[float]:
    """Seconds of each turn of the plain loop."""
    client = anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, open_telemetry=False)
    messages: list[Any] = [_user("work")]
    seconds = []
    for number in range(turns):
        await pace.step(0, number)
        start = time.perf_counter()
        async with client.messages.stream(
            model=MODEL,
            max_tokens=32_000,
            system=SYSTEM,  # type: ignore[arg-type]
            tools=TOOLS,  # type: ignore[arg-type]
            messages=messages,
            thinking={"type": "adaptive", "display": "summarized"},
            cache_control={"type": "ephemeral"},
        ) as stream:
            content: Any = (await stream.get_final_message()).to_dict()["content"]
        messages.append({"role": "assistant", "content": content})
        messages.append({"role": "user", "content": [_result(block) for block in content if "input" in block]})
        seconds.append(time.perf_counter() - start)
    await pace.done(0)
    await client.close()
    return seconds


def _result(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": block["id"], "content": '{"ok":true}', "is_error": False}


@dataclass
class Bench:
    """The least that the graph needs of a night, with the night's own files and its order of writing."""

    folder: Path
    brain: Claude
    turns: int
    pace: _Pace
    seconds: list[float] = field(default_factory=list)
    """Of each turn: from one think to the next, checkpoints included, the pauses for the other loop left out."""

    def __post_init__(self) -> None:
        self.watch = Watch(self.folder, "watch_01")
        self.watch.open("bench", self.brain.name, SYSTEM, TOOLS)
        self.events = EventLog(self.folder)
        self.journal = Journal(self.folder)
        self.budget = Budget(self.folder / "ledger.jsonl", Limits(usd=1e9))
        self._began: float | None = None

    def situation(self) -> str:
        return "work"

    async def steer(self) -> None: ...

    def must_end(self) -> str | None:
        if self._began is not None:
            self.seconds.append(time.perf_counter() - self._began)
        return "enough" if len(self.seconds) >= self.turns else None

    def is_full(self) -> bool:
        return self.watch.size > 1e12

    async def think(self) -> Turn:
        await self.pace.step(1, len(self.seconds))
        self._began = time.perf_counter()
        request = self.watch.request()
        key = f"{self.watch.name}/turn/{len(request.messages)}"
        quote = self.brain.quote(request)
        reservation = self.budget.reserve(key, usd=quote.usd, tokens=quote.tokens, who="bench")
        turn = await self.brain.turn(request)
        self.watch.append_turn(turn)
        reservation.commit(usd=turn.usd, tokens=turn.usage.total)
        self.events.once(key, "turn", stop=turn.stop_reason, tokens=turn.usage.total, usd=turn.usd)
        return turn

    async def call(self, block: dict[str, Any]) -> dict[str, Any]:
        call = str(block["id"])
        if found := self.journal.result(call):
            return found
        self.events.once(f"{call}/start", "tool_started", call=call, tool="work")
        self.journal.record(call, "work", {"ok": True, "content": '{"ok":true}'})
        self.events.once(f"{call}/end", "tool_finished", call=call, tool="work", ok=True)
        return self.journal.result(call) or {}

    def ended(self) -> str | None:
        return None

    def nudge(self) -> str:
        return "go on"


async def night(url: str, turns: int, folder: Path, pace: _Pace) -> list[float]:
    """Seconds of each turn of the night's graph."""
    brain = Claude(MODEL, client=open_client(base_url=url, api_key="k"))
    bench = Bench(folder, brain, turns, pace)
    with open_saver(folder / CHECKPOINTS) as saver:
        app = graph.build(bench, saver)
        config: Any = {"configurable": {"thread_id": "bench/watch_01"}, "recursion_limit": 10 * turns + 100}
        keeping = asyncio.create_task(pulse.keep(bench.events, bench.journal))
        await app.ainvoke(graph.Where(watch="watch_01"), config, durability="sync")
        keeping.cancel()
    await pace.done(1)
    await brain.close()
    return bench.seconds


async def _both(url: str, turns: int, folder: Path) -> tuple[list[float], list[float]]:
    pace = _Pace(BLOCK)
    plain, whole = await asyncio.gather(raw(url, turns, pace), night(url, turns, folder, pace))
    return plain, whole


def fsync_ms(folder: Path) -> float:
    """What one appended line costs on this disk, flushed: a turn has some of them, the raw loop has none."""
    lines, seconds = JsonLines(folder / "probe.jsonl"), []
    for number in range(40):
        start = time.perf_counter()
        lines.append({"n": number})
        seconds.append(time.perf_counter() - start)
    lines.close()
    return 1000 * statistics.median(seconds)


def around(seconds: list[float], mark: int) -> float:
    """Milliseconds of a turn near a mark: the median of the turns around it."""
    last = min(len(seconds), mark + BLOCK)
    return 1000 * statistics.median(seconds[max(0, last - 2 * BLOCK) : last])


def measure(turns: int) -> dict[str, float]:
    """One run of both loops against one API process."""
    here, there = multiprocessing.Pipe()
    api = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    api.start()
    folder = Path(tempfile.mkdtemp(prefix="nightlab-bench-"))
    try:
        plain, whole = asyncio.run(_both(f"http://127.0.0.1:{here.recv()}", turns, folder))
        flushed = fsync_ms(folder)
        checkpoints = sum(path.stat().st_size for path in folder.glob(f"{CHECKPOINTS}*"))
    finally:
        api.terminate()
        api.join()
        shutil.rmtree(folder)
    figures: dict[str, float] = {"turns": turns}
    for mark in [mark for mark in MARKS if mark <= turns]:
        slow, fast = around(whole, mark), around(plain, mark)
        figures |= {f"raw_ms_{mark}": fast, f"nightlab_ms_{mark}": slow, f"above_ms_{mark}": slow - fast}
    first, last = (figures[f"above_ms_{mark}"] for mark in (MARKS[0], max(m for m in MARKS if m <= turns)))
    figures["growth"] = last / first - 1
    figures["fsync_ms"] = flushed
    figures["checkpoint_mb"] = checkpoints / 1e6
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: round(value, 3) for name, value in figures.items()}


def missed(figures: dict[str, float]) -> list[str]:
    """The bars that a run does not hold."""
    bars = {f"above_ms_{mark}": MOST_ABOVE_MS for mark in MARKS}
    bars |= {"growth": MOST_GROWTH, "checkpoint_mb": MOST_CHECKPOINT_MB, "peak_rss_mb": MOST_RSS_MB}
    return [f"{name} is {figures[name]:g}, at most {bar:g}" for name, bar in bars.items() if figures.get(name, 0) > bar]


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.turns)
    misses = missed(figures)
    if options.json:
        print(json.dumps({**figures, "missed": misses}))
    else:
        print("\n".join(f"{name:>18} {value:g}" for name, value in figures.items()))
        print("\n".join(misses) or "every bar is held")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the benchmarks of sweeps share: a fast local server with faults on request, plans, measured processes.

The server is a process of its own that speaks enough HTTP for one question after another on each connection. Its answer
names the seed of the question, so that a wrong row can be told; it counts how often it was asked each question (the
number in its text, and its seed), and when first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan

SERVED = "bench"
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
_SEED = re.compile(rb'"seed": ?(\d+)')
_NUMBER = re.compile(rb"the number (\d+)\?")
FAULTS = {
    "429": 0.0167,
    "500": 0.0167,
    "hang": 0.0166,
    "error_body": 0.01,
    "wrong_model": 0.005,
    "truncated": 0.005,
    "stall": 0.002,
}
"""The shares of bench/faults.py: 5 % refusals, errors and timeouts; 2 % broken answers; some that stall half-way."""


def text_for(seed: int) -> str:
    """The answer to the question with this seed."""
    return f"The answer to question {seed}. " * 6


def _answer(seed: int, model: str = SERVED) -> bytes:
    message = {"role": "assistant", "content": text_for(seed)}
    usage = {"prompt_tokens": 12, "completion_tokens": 48, "total_tokens": 60}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": model, "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


def _http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        size,
        body,
    )


class _Seen:
    def __init__(self, latency: float, faults: bool) -> None:
        self.latency, self.faults = latency, faults
        self.asked: dict[str, int] = {}
        self.first: dict[str, float] = {}
        self.chance = random.Random(1)


class _Connection(asyncio.Protocol):
    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            if head.startswith(b"get /seen"):
                told = {"asked": self._seen.asked, "first": self._seen.first}
                self._transport.write(_http(json.dumps(told).encode()))
            elif head.startswith(b"get "):
                self._transport.write(_http(b'{"error": {"message": "no such thing"}}', "404 Not Found"))
            else:
                self._ask(body)

    def _ask(self, body: bytes) -> None:
        found = _SEED.search(body)
        seed = int(found[1]) if found else 0
        number = _NUMBER.search(body)
        question = f"{int(number[1]) if number else 0}/{seed}"
        self._seen.asked[question] = self._seen.asked.get(question, 0) + 1
        self._seen.first.setdefault(question, time.time())
        reply = self._fault(seed) if self._seen.faults else _http(_answer(seed))
        if reply is None:
            return
        if self._seen.latency:
            asyncio.get_running_loop().call_later(self._seen.latency, self._transport.write, reply)
        else:
            self._transport.write(reply)

    def _fault(self, seed: int) -> bytes | None:
        """An answer, or one of the faults by chance."""
        drawn, total = self._seen.chance.random(), 0.0
        kind = next((name for name, share in FAULTS.items() if (total := total + share) > drawn), "")
        whole = _answer(seed)
        replies = {
            "429": _http(b'{"error": {"message": "slow down"}}', "429 Too Many Requests"),
            "500": _http(b'{"error": {"message": "engine"}}', "500 Internal Server Error"),
            "hang": None,
            "error_body": _http(b'{"error": {"message": "adapter is gone", "code": 500}}'),
            "wrong_model": _http(_answer(seed, "another")),
            "truncated": _http(whole[: len(whole) // 2]),
            "stall": _http(whole[: len(whole) // 2], length=len(whole)),
        }
        return replies[kind] if kind else _http(whole)


async def _serve(port: int, latency: float, faults: bool) -> None:
    seen = _Seen(latency, faults)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(seen), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Server:
    """The server as a process; `stop` kills it, and it can be started again on its port."""

    def __init__(self, latency: float = 0.0, *, faults: bool = False) -> None:
        self._words = ["--latency", str(latency), *(["--faults"] if faults else [])]
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same port as before."""
        words = [sys.executable, __file__, "--port", str(self.port), *self._words]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def seen(self) -> dict[str, Any]:
        """How often each question was asked since it was started, and when first."""
        with urllib.request.urlopen(f"{self.url}/seen", timeout=30) as response:
            found: dict[str, Any] = json.load(response)
        return found


@contextlib.contextmanager
def serving(latency: float = 0.0, *, faults: bool = False) -> Iterator[Server]:
    """A server for a while."""
    server = Server(latency, faults=faults)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make_plan(folder: Path, count: int) -> Plan:
    """A frozen plan of `count` cells: one model without an adapter, some prompts, replicates."""
    prompts = next(n for n in (PROMPTS, 9, 7, 1) if count % n == 0)
    for name in ("prompts", "model", "conditions"):
        (folder / name).mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"num_hidden_layers": 2}')
    (folder / "rubric.md").write_text(RUBRIC)
    for number in range(prompts):
        prompt = {"name": f"p{number}", "prompt_text": f"What do you think about the number {number}?"}
        (folder / "prompts" / f"p{number}.yaml").write_text(yaml.safe_dump(prompt))
    factors = {"models": [{"name": "m", "id": "bench/m", "path": "model"}], "replicates": count // prompts}
    (folder / "config.yaml").write_text(yaml.safe_dump({"question": "How fast?", "factors": factors}))
    plan = Plan.load(folder)
    freeze(plan)
    return plan


@dataclass(frozen=True)
class Measured:
    """One process from its start to its end."""

    wall: float
    cpu: float
    rss_mb: float
    code: int
    said: str


def measured(words: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> Measured:
    """Run a process and measure it with its children."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode, said[-2000:])


def main() -> None:
    """Be the server."""
    parser = argparse.ArgumentParser(description="the server of the benchmarks of sweeps")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", action="store_true")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.latency, options.faults))


if __name__ == "__main__":
    main()

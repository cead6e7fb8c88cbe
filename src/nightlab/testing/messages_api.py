"""FakeMessagesAPI: the Anthropic Messages API (version 2026-10-21) for tests, on a real socket, answering by a script.

    with FakeMessagesAPI([Fail(529), "Good evening."]) as api:
        client = anthropic.AsyncAnthropic(api_key="any", base_url=api.url)

It streams frame by frame, counts tokens and caching, binds thinking to what stands before it, refuses what the API
refuses, and records every request. It runs in a thread of its own; as a process for tests that kill others:
`python -m nightlab.testing.messages_api --port 8000 --script script.json`. It has no model in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from nightlab.testing.judges import judge_by_markers
from nightlab.testing.messages_batches import Batches
from nightlab.testing.messages_models import MODELS, Model
from nightlab.testing.messages_prefix import Cache, Chain, follow
from nightlab.testing.messages_rules import broken_rule, estimate
from nightlab.testing.messages_script import Entry, Fail, Say, Script, read_script
from nightlab.testing.messages_stream import failure, new_headers, stream

LARGEST = 32 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request that arrived, and the status it got."""

    t: float
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int


class FakeMessagesAPI:
    """A Messages API on 127.0.0.1 that says what its script says.

    `script`: one entry for each request, the last one again and again; or a function of the request's body.
    `by_turn`: entry n answers a conversation with n assistant messages, so that a repeated request is answered alike.
    `enforce_prefix`: a thinking block that does not stand where it was signed is refused, as preserved thinking does.
    `models`: what /v1/models lists; a request for another one gets 404.
    """

    def __init__(
        self,
        script: Script = ("ok",),
        *,
        port: int = 0,
        by_turn: bool = False,
        enforce_prefix: bool = True,
        models: Iterable[Model] = MODELS,
    ) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.models = {model.id: model for model in models}
        self.enforce_prefix = enforce_prefix
        self.batches = Batches(self._in_batch, _now, self._record)
        self._rule = script if callable(script) else None
        self._entries: list[Entry] = [] if callable(script) else list(script)
        self._by_turn, self._at = by_turn, 0
        self._cache = Cache()
        self._paused: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> list[Request]:
        """The requests for a message so far."""
        return [request for request in self.requests if request.path == "/v1/messages"]

    def statuses(self) -> list[int]:
        """The status of each request for a message."""
        return [request.status for request in self.asked()]

    def say(self, *entries: Entry) -> None:
        """Put further entries at the end of the script."""
        self._entries += entries

    def __enter__(self) -> FakeMessagesAPI:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise TimeoutError("the fake did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._thread is not None:
            self._thread.join(10)

    async def start(self) -> web.AppRunner:
        """Listen in the running loop; clean the runner up to stop."""
        app = web.Application(client_max_size=2 * LARGEST)
        app.add_routes(
            [
                web.post("/v1/messages", self._messages),
                web.post("/v1/messages/count_tokens", self._count),
                web.get("/v1/models", self._list_models),
                web.get("/v1/models/{id}", self._one_model),
                *self.batches.routes(),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = int(runner.addresses[0][1])
        return runner

    async def _serve(self, ready: threading.Event) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(ended.set)
        runner = await self.start()
        ready.set()
        await ended.wait()
        await runner.cleanup()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        problem = self._refused(request, body)
        reply = problem or self._next(body)
        self._record(request, body, reply.status if isinstance(reply, Fail) else 200)
        await asyncio.sleep(reply.sleep)
        if isinstance(reply, Fail):
            return failure(reply)
        message = self._message(reply, body)
        headers = {**new_headers(), **reply.headers}
        if not body.get("stream"):
            return web.json_response(message, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        await stream(request, response, reply, message)
        return response

    def _refused(self, request: web.Request, body: dict[str, Any]) -> Fail | None:
        """The error of a request that the API would not take."""
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return Fail(401, message="authentication required: send the key as `Authorization: Bearer`")
        if (request.content_length or 0) > LARGEST:
            return Fail(413, message="Request exceeds the maximum size")
        resumed = bool(body.get("messages")) and _key(body["messages"][-1].get("content")) in self._paused
        if broken := broken_rule(body, resumed=resumed):
            return Fail(400, message=broken)
        model = self.models.get(str(body["model"]))
        if model is None or model.lifecycle == "retired":
            return Fail(404, message=f"model: {body['model']}")
        tokens = estimate(body)
        if tokens > model.max_input_tokens:
            return Fail(400, message=f"prompt is too long: {tokens} tokens > {model.max_input_tokens} maximum")
        mismatch = follow(body)[1] if self.enforce_prefix else None
        return Fail(400, message=mismatch) if mismatch else None

    def _next(self, body: dict[str, Any]) -> Say | Fail:
        entry: Entry
        if self._rule is not None:
            entry = self._rule(body)
        elif self._by_turn:
            turn = sum(message["role"] == "assistant" for message in body["messages"])
            entry = self._entries[min(turn, len(self._entries) - 1)]
        else:
            number = min(self._at, len(self._entries) - 1)
            entry, self._at = self._entries[number], number + 1
        reply = entry(body) if callable(entry) else entry
        if isinstance(reply, str):
            return Say([_text(reply)] if reply else [])
        return reply if isinstance(reply, Say | Fail) else Say(reply)

    def _in_batch(self, body: dict[str, Any]) -> dict[str, Any] | Fail:
        reply = Fail(400, message=broken) if (broken := broken_rule(body)) else self._next(body)
        return reply if isinstance(reply, Fail) else self._message(reply, body)

    def _message(self, said: Say, body: dict[str, Any]) -> dict[str, Any]:
        chain = follow(body)[0]
        usage = self._cache.usage(chain, body)
        before = chain.tokens
        content = [self._block(dict(block), chain) for block in said.content]
        calls = any(block["type"] == "tool_use" for block in content)
        stop = said.stop_reason or ("tool_use" if calls else "end_turn")
        if stop == "pause_turn":
            last = body["messages"][-1]
            self._paused.add(_key((last["content"] if last["role"] == "assistant" else []) + content))
        usage |= {"output_tokens": max(1, chain.tokens - before), "service_tier": "standard", "inference_geo": "global"}
        return {
            "id": f"msg_{uuid.uuid4().hex[:20]}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "stop_details": said.stop_details,
            "usage": {**usage, **said.usage},
        }

    def _block(self, block: dict[str, Any], chain: Chain) -> dict[str, Any]:
        if "call" in block:
            block = {"type": "tool_use", "name": block["call"], "input": block.get("input", {})}
        if block["type"] == "tool_use" and "id" not in block:
            block = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:20]}", **block}
        if block["type"] == "text":
            block.setdefault("citations", None)
        if block["type"] == "thinking":
            block.setdefault("signature", chain.sign())
        chain.add("assistant", block)
        return block

    async def _count(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._record(request, body, 200)
        return web.json_response({"input_tokens": estimate(body)})

    async def _list_models(self, request: web.Request) -> web.Response:
        self._record(request, {}, 200)
        rows = [model.card() for model in self.models.values()]
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {}
        return web.json_response({"data": rows, "has_more": False, "next_page": None, **ends})

    async def _one_model(self, request: web.Request) -> web.Response:
        model = self.models.get(request.match_info["id"])
        self._record(request, {}, 200 if model else 404)
        if model is None:
            return failure(Fail(404, message=f"model: {request.match_info['id']}"))
        return web.json_response(model.card())

    def _record(self, request: web.Request, body: dict[str, Any], status: int) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(time.monotonic(), request.method, request.path, headers, body, status))


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _key(content: object) -> str:
    return json.dumps(content, sort_keys=True)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def _run(options: argparse.Namespace) -> None:
    script: Script = judge_by_markers(options.judge) if options.judge else read_script(options.script)
    api = FakeMessagesAPI(script, port=options.port, by_turn=options.by_turn)
    api.batches.polls = options.polls
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = await api.start()
    print(api.url, flush=True)  # noqa: T201 - who started it reads where it answers
    await ended.wait()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """Run one in the foreground until it is ended."""
    parser = argparse.ArgumentParser(prog="messages_api", description="a Messages API for tests")
    parser.add_argument("--port", type=int, default=0)
    told = parser.add_mutually_exclusive_group(required=True)
    told.add_argument("--script", type=Path, help="JSON list: texts, lists of blocks, {say: ...}, {fail: ...}")
    told.add_argument("--judge", type=Path, help="a rubric: packets are judged by its markers")
    parser.add_argument("--polls", type=int, default=2, help="a message batch has ended after so many looks")
    parser.add_argument("--by-turn", action="store_true", help="entry n answers a conversation with n answers so far")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

"""FaultyServer: a model server for tests that speaks vLLM's OpenAI protocol on real sockets and fails on command.

In a test: `async with FaultyServer(served_name="m") as server: server.fail(Fault("status", status=429))`.
As a process, for tests of server lifecycles: `python -m nightlab.testing.faulty_server --port 8000 --served-name m`.
It answers deterministically (nightlab.testing.answers) and has no model in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from nightlab.testing import answers
from nightlab.testing.faults import Fault, Faults, commit_fault, error_body

OF_A_REAL_SERVER = (
    *("--gpu-memory-utilization", "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens"),
    *("--tensor-parallel", "--enforce-eager", "--dtype", "--cpu-kv-gib"),
)
Reply = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Seen:
    """One request that arrived: its path and its JSON body."""

    path: str
    body: dict[str, Any]


class FaultyServer:
    """A model server on 127.0.0.1 that answers deterministically and commits the faults it is told to.

    `inert`: adapters load and do nothing. `leaky`: a plain request beside one with an adapter gets that adapter.
    `stuck`: every adapter acts as the first one. `lenient`: names that are not served are answered.
    `adapters`: names that are served from the start. `reply`: the text for a request, None: invented.
    """

    def __init__(
        self,
        served_name: str = "double",
        *,
        port: int = 0,
        adapters: Iterable[str] = (),
        faults: Iterable[Fault] = (),
        reply: Reply | None = None,
        delay: float = 0.0,
        inert: bool = False,
        leaky: bool = False,
        stuck: bool = False,
        lenient: bool = False,
        runtime_adapters: bool = True,
    ) -> None:
        self.served_name = served_name
        self.port = port
        self.requests: list[Seen] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._adapters: dict[str, Path] = {name: Path(name) for name in adapters}
        self._faults = Faults()
        self._reply, self._delay, self._inert, self._leaky = reply, delay, inert, leaky
        self._stuck, self._lenient, self._runtime_adapters = stuck, lenient, runtime_adapters
        self._beside: list[str] = []
        self._runner: web.AppRunner | None = None
        self.fail(*faults)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, *faults: Fault) -> None:
        """Commit these faults on the next matching requests, in order."""
        self._faults.add(faults)

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def answered(self) -> list[Seen]:
        """The requests for completions so far."""
        return [seen for seen in self.requests if seen.path.endswith("completions")]

    async def start(self) -> None:
        """Listen; a port that is taken raises OSError."""
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> FaultyServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _app(self) -> web.Application:
        app = web.Application()
        routes = [
            web.get("/health", self._health),
            web.get("/version", self._version),
            web.get("/v1/models", self._models),
            web.post("/v1/chat/completions", self._complete),
            web.post("/v1/completions", self._complete),
        ]
        if self._runtime_adapters:
            routes += [
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
            ]
        app.add_routes([*routes, web.route("*", "/{rest:.*}", self._no_route)])
        return app

    async def _no_route(self, _: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "double"})

    async def _models(self, _: web.Request) -> web.Response:
        cards: list[dict[str, Any]] = [{"id": self.served_name, "object": "model", "root": "double", "parent": None}]
        for name, path in self._adapters.items():
            cards.append({"id": name, "object": "model", "root": str(path), "parent": self.served_name})
        return web.json_response({"object": "list", "data": cards})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(Seen(request.path, body))
        name, path = str(body.get("lora_name", "")), Path(str(body.get("lora_path", "")))
        if name in self._adapters:
            return _error(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        if name == self.served_name:
            return _error(400, "InvalidUserInput", f"{name} conflicts with a served base model.")
        if not (path / "adapter_config.json").is_file():
            return _error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for <path>")
        self._adapters[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = str(body.get("lora_name", ""))
        if self._adapters.pop(name, None) is None:
            return _error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(Seen(request.path, body))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._beside.append(str(body.get("model")))
        try:
            return await self._answer(request, body)
        finally:
            self.in_flight -= 1
            self._beside.remove(str(body.get("model")))

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        name = str(body.get("model"))
        if name != self.served_name and name not in self._adapters and not self._lenient:
            message = f"The model `{name}` does not exist. Valid aliases: {self.served_name}."
            return _error(404, "NotFoundError", message, "model")
        await asyncio.sleep(self._delay)
        text = self._reply(body) if self._reply is not None else None
        chat = request.path.endswith("chat/completions")
        answer = answers.completion(body, self._effect(name), chat=chat, text=text)
        fault = self._faults.meet(body)
        return await commit_fault(fault, request, answer) if fault else web.json_response(answer)

    def _effect(self, name: str) -> str:
        if self._inert:
            return answers.NO_EFFECT
        if self._leaky and name == self.served_name:
            effects = (answers.effect_of(self._adapters[n]) for n in self._beside if n in self._adapters)
            return next(filter(None, effects), answers.NO_EFFECT)
        effect = answers.effect_of(self._adapters[name]) if name in self._adapters else answers.NO_EFFECT
        return "stuck" if self._stuck and effect else effect


def _error(status: int, kind: str, message: str, param: str | None = None) -> web.Response:
    return web.json_response(error_body(message, kind, status, param), status=status)


async def _serve(options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    faults = [Fault(**entry) for entry in json.loads(options.faults)]
    server = FaultyServer(
        options.served_name,
        port=options.port,
        faults=faults,
        delay=options.delay,
        inert=options.inert,
        leaky=options.leaky,
        stuck=options.stuck,
        lenient=options.lenient,
        runtime_adapters=not options.no_runtime_adapters,
    )
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), options.lead or 0.001)
        return
    await server.start()
    print("INFO:     Application startup complete.", flush=True)  # noqa: T201 - this is a server's log
    await ended.wait()
    await server.stop()


def main(arguments: list[str] | None = None) -> None:
    """Run one in the foreground until it is ended."""
    parser = argparse.ArgumentParser(prog="faulty_server", description="a model server for tests")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-name", default="double")
    parser.add_argument("--faults", default="[]", help="JSON list of Fault fields")
    parser.add_argument("--lead", type=float, default=0.0, help="seconds before it listens")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--inert", action="store_true", help="adapters load and do nothing")
    parser.add_argument("--leaky", action="store_true", help="plain requests beside others get their adapter")
    parser.add_argument("--stuck", action="store_true", help="every adapter acts as the first one")
    parser.add_argument("--lenient", action="store_true", help="names that are not served are answered")
    parser.add_argument("--no-runtime-adapters", action="store_true", help="no route to load adapters")
    for flag in OF_A_REAL_SERVER:
        parser.add_argument(flag, help="taken and ignored")
    asyncio.run(_serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

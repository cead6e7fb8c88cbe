"""The HTTP face: OpenAI's completions, vLLM's adapter routes, health, version and metrics, in vLLM's words and codes.

Limits: loopback, no authentication, no tools; streaming for one choice, sent as one piece when it is complete.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from nightlab import __version__
from nightlab.errors import AdapterError
from nightlab.servers.embedded.answer import Identity, chat_body, completion_body, model_card
from nightlab.servers.embedded.ask import Ask, read_chat, read_completion, read_tokens
from nightlab.servers.embedded.lora import Condition
from nightlab.servers.embedded.metrics import metrics_text
from nightlab.servers.embedded.refusal import Refusal, missing_field, unknown_model, wrong_type
from nightlab.servers.embedded.rows import Row
from nightlab.servers.embedded.scheduler import Scheduler
from nightlab.servers.embedded.stream import stream_events
from nightlab.servers.embedded.texts import Texts


class Service:
    """The routes over one engine."""

    def __init__(self, scheduler: Scheduler, texts: Texts, *, name: str, root: str, fingerprint: str) -> None:
        self.scheduler, self.texts = scheduler, texts
        self.name, self.root, self.fingerprint = name, root, fingerprint
        self.started = int(time.time())

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[answer_errors], client_max_size=16 * 2**20)
        app.router.add_get("/health", self.health)
        app.router.add_get("/ping", self.health)
        app.router.add_get("/version", self.version)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.complete)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_post("/v1/load_lora_adapter", self.load)
        app.router.add_post("/v1/unload_lora_adapter", self.unload)
        return app

    async def health(self, request: web.Request) -> web.Response:
        """200 with an empty body."""
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        """The version of nightlab."""
        return web.json_response({"version": __version__})

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text with vLLM's names."""
        text = metrics_text(self.scheduler.counts, self.name)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=1.0.0; charset=utf-8"})

    async def models(self, request: web.Request) -> web.Response:
        """The base's card, then one per adapter."""
        engine = self.scheduler.engine
        cards = [model_card(self.name, self.root, None, engine.max_len, self.started)]
        for condition in list(engine.conditions.values()):
            cards.append(model_card(condition.name, str(condition.path), self.name, None, self.started))
        return web.json_response({"object": "list", "data": cards})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        body = await read_body(request)
        self._condition(body.get("model"))
        return await self._answer(request, read_chat(body, self.texts, self.scheduler.engine.max_len))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions."""
        body = await read_body(request)
        self._condition(body.get("model"))
        return await self._answer(request, read_completion(body, self.texts, self.scheduler.engine.max_len))

    async def tokenize(self, request: web.Request) -> web.Response:
        """POST /tokenize: the token ids that a request would be read as."""
        body = await read_body(request)
        self._condition(body.get("model"))
        tokens = read_tokens(body, self.texts)
        found = {"count": len(tokens), "max_model_len": self.scheduler.engine.max_len, "tokens": tokens}
        return web.json_response(found | {"token_strs": None})

    async def _answer(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        condition = self._condition(ask.model)
        watch = self.texts.stopped if ask.sampling.stop else None
        rows = [
            Row(prompt, condition, ask.sampling, index, watch)
            for number, prompt in enumerate(ask.prompts)
            for index in range(number * ask.n, (number + 1) * ask.n)
        ]
        try:
            await self.scheduler.finish(rows)
        except RuntimeError as problem:
            raise Refusal(500, str(problem), "InternalServerError") from problem
        who = Identity(ask.model or self.name, self.fingerprint)
        body = (chat_body if ask.chat else completion_body)(ask, rows, self.texts, who)
        if not ask.stream:
            return web.json_response(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in stream_events(body, chat=ask.chat, usage=ask.stream_usage):
            await response.write(event)
        return response

    def _condition(self, model: object) -> Condition | None:
        """The condition of a served name; None is the base."""
        if model is None or model == self.name:
            return None
        condition = self.scheduler.engine.conditions.get(str(model))
        if condition is None:
            raise unknown_model(str(model), self.name)
        return condition

    async def load(self, request: web.Request) -> web.Response:
        """POST /v1/load_lora_adapter {lora_name, lora_path}."""
        body = await read_body(request)
        for field in ("lora_name", "lora_path"):
            if field not in body:
                raise missing_field(field, len(body))
            if not isinstance(body[field], str):
                raise wrong_type(field, "string")
        name, path = body["lora_name"], body["lora_path"]
        if not name or not path:
            raise Refusal(400, "Both 'lora_name' and 'lora_path' must be provided.", "InvalidUserInput")
        in_place = body.get("load_inplace") is True
        await self.scheduler.call(lambda: self._load(name, Path(path), in_place=in_place))
        return success(f"Success: LoRA adapter '{name}' added successfully.")

    def _load(self, name: str, folder: Path, *, in_place: bool) -> None:
        if name == self.name:
            message = f"The lora adapter '{name}' conflicts with a served base model."
            raise Refusal(400, message, "InvalidUserInput")
        if name in self.scheduler.engine.conditions and not in_place:
            message = (
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
                "set 'load_inplace' to True."
            )
            raise Refusal(400, message, "InvalidUserInput")
        if not (folder / "adapter_config.json").is_file():
            shown = "<path>" if folder.is_absolute() else str(folder)
            message = f"Loading lora {name} failed: No adapter found for {shown}"
            raise Refusal(404, message, "NotFoundError")
        try:
            self.scheduler.engine.load(name, folder)
        except AdapterError as problem:
            reason = problem.what.replace(str(folder), "<path>")
            raise Refusal(
                500,
                f"Call to add_lora method failed: Worker failed with error '{reason}', "
                "please check the stack trace above for the root cause",
                "InternalServerError",
            ) from problem

    async def unload(self, request: web.Request) -> web.Response:
        """POST /v1/unload_lora_adapter {lora_name}."""
        body = await read_body(request)
        if "lora_name" not in body:
            raise missing_field("lora_name", len(body))
        name = str(body["lora_name"])
        await self.scheduler.call(lambda: self._unload(name))
        return success(f"Success: LoRA adapter '{name}' removed successfully.")

    def _unload(self, name: str) -> None:
        if name not in self.scheduler.engine.conditions:
            raise Refusal(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        self.scheduler.engine.unload(name)


def success(text: str) -> web.Response:
    """vLLM's plain text answers."""
    return web.Response(text=text)


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request. Raises Refusal."""
    try:
        body = json.loads(await request.text())
    except ValueError as problem:
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else str(problem)
        at = problem.pos if isinstance(problem, json.JSONDecodeError) else 0
        detail = f"{{'type': 'json_invalid', 'loc': 'body.{at}', 'msg': 'JSON decode error', "
        detail += f"'input': '<dict of 0 items>', 'ctx': {{'error': '{reason}'}}}}"
        raise Refusal(400, f"1 validation error:\n  {detail}", "Bad Request", f"body.{at}") from problem
    if not isinstance(body, dict):
        raise wrong_type("", "dict")
    return body


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals and unknown routes as vLLM answers them."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response(refusal.body(), status=refusal.status)
    except web.HTTPException as problem:
        if problem.status < 400:
            raise
        return web.json_response({"detail": problem.reason}, status=problem.status)

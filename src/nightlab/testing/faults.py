"""The faults that FaultyServer can commit, each on real HTTP: what a sweep meets when a model server misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

Kind = Literal[
    "status",  # an error status with vLLM's error body; `status`, `retry_after`
    "error_body",  # 200 whose body is an error
    "empty_choices",  # 200 without a choice
    "missing_usage",  # 200 without token counts
    "wrong_model",  # 200 under another model's name
    "not_json",  # 200 with a page of HTML
    "truncated",  # 200 whose JSON ends in the middle, with a Content-Length that fits
    "drop",  # the connection is cut before an answer
    "cut",  # the connection is cut in the middle of the body
    "hang",  # no answer at all until the client gives up
    "stall",  # headers and half a body, then nothing
    "aborted",  # 200 with finish_reason "abort": the server gave the request up
]


@dataclass(frozen=True)
class Fault:
    """One scripted fault: its kind, how often it happens (None: always), and which requests it meets."""

    kind: Kind
    times: int | None = 1
    status: int = 500
    model: str | None = None
    """Only requests for this served model."""
    contains: str | None = None
    """Only requests whose messages or prompt contain this text."""
    skip: int = 0
    """So many matching requests pass before the first fault."""
    retry_after: float | None = None

    def matches(self, body: Mapping[str, Any]) -> bool:
        """Whether a request is one of those it meets."""
        if self.model is not None and body.get("model") != self.model:
            return False
        asked = json.dumps(body.get("messages") or body.get("prompt") or "", ensure_ascii=False)
        return self.contains is None or self.contains in asked


class Faults:
    """Scripted faults, in order: which of them meets a request, by what each has let pass and done already."""

    def __init__(self) -> None:
        self._script: list[tuple[Fault, list[int]]] = []

    def add(self, faults: Iterable[Fault]) -> None:
        """Commit these, too."""
        self._script += [(fault, [fault.skip, 0]) for fault in faults]

    def clear(self) -> None:
        """Forget all of them."""
        self._script.clear()

    def meet(self, body: Mapping[str, Any]) -> Fault | None:
        """The fault that a request meets, counted as committed."""
        for fault, counts in self._script:
            spent = fault.times is not None and counts[1] >= fault.times
            if spent or not fault.matches(body):
                continue
            if counts[0] > 0:
                counts[0] -= 1
                continue
            counts[1] += 1
            return fault
        return None


def error_body(message: str, kind: str, code: int, param: str | None = None) -> dict[str, Any]:
    """An error as vLLM writes it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def commit_fault(fault: Fault, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """Answer a request with a fault instead of `answer`."""
    if fault.kind == "status":
        return _status(fault)
    if fault.kind == "error_body":
        return web.json_response(error_body("Internal error: adapter is gone", "internal_error", 500))
    if fault.kind == "not_json":
        return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
    if fault.kind == "truncated":
        text = json.dumps(answer)
        return web.Response(text=text[: len(text) // 2], content_type="application/json")
    if fault.kind in ("drop", "cut", "hang", "stall"):
        return await _silence(fault, request, answer)
    return web.json_response(_spoiled(fault, answer))


def _status(fault: Fault) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    names = {429: "RateLimitError", 400: "BadRequestError", 404: "NotFoundError"}
    body = error_body("EngineCore encountered an issue.", names.get(fault.status, "InternalServerError"), fault.status)
    return web.json_response(body, status=fault.status, headers=headers)


def _spoiled(fault: Fault, answer: dict[str, Any]) -> dict[str, Any]:
    spoiled = dict(answer)
    if fault.kind == "empty_choices":
        spoiled["choices"] = []
    elif fault.kind == "missing_usage":
        del spoiled["usage"]
    elif fault.kind == "wrong_model":
        spoiled["model"] = "some-other-model"
    elif fault.kind == "aborted":
        spoiled["choices"] = [{**choice, "finish_reason": "abort"} for choice in answer["choices"]]
    return spoiled


async def _silence(fault: Fault, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    if fault.kind == "hang":
        await asyncio.sleep(3600)
    transport = request.transport
    if fault.kind == "drop":
        if transport is not None:
            transport.abort()
        return web.Response(status=500)
    data = json.dumps(answer).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if fault.kind == "stall":
        await asyncio.sleep(3600)
    if transport is not None:
        transport.abort()
    return response

"""The client of one model server: one pool of connections, one deadline per request, every failure classified.

Nothing is retried here: that is the caller's decision, by `failure_class`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from nightlab.compute.route import Direct, Route
from nightlab.servers.answers import (
    RETRYABLE,
    SHOWN,
    Answer,
    BrokenAnswer,
    ChatError,
    ChatRequest,
    FailureClass,
    Message,
    ModelCard,
    broken,
    error_message,
    read_answer,
    status_error,
)

__all__ = [
    "LOAD",
    "RETRYABLE",
    "Answer",
    "BrokenAnswer",
    "Chat",
    "ChatError",
    "ChatRequest",
    "FailureClass",
    "Message",
    "ModelCard",
    "error_message",
    "read_answer",
]

LOAD = "/v1/load_lora_adapter"
_JSON = {"Content-Type": "application/json"}
_WAITING = re.compile(r"^[\w:]*num_requests_waiting(?:{[^}\n]*})? ([0-9.eE+-]+)", re.MULTILINE)


class Chat:
    """A client with one pool of connections; `limit` bounds the requests in flight. Use it as an async context.

    Given a route it holds that, never a port: a tunnel that came back elsewhere is followed.
    """

    def __init__(self, to: str | Route, *, limit: int = 64, key: str = "") -> None:
        self._to: Route = Direct(to.rstrip("/")) if isinstance(to, str) else to
        self._limit = limit
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Where the server is reached just now."""
        return self._to.url

    async def __aenter__(self) -> Chat:
        connector = aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=30)
        cookies = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(
            connector=connector, trust_env=False, cookie_jar=cookies, headers=self._headers
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def complete(self, request: ChatRequest, *, timeout: float = 120.0, body: bytes | None = None) -> Answer:
        """Ask once within `timeout` seconds in all; `body` is the request's JSON where it is at hand.

        Raises ChatError; a task that is cancelled stays cancelled.
        """
        start = time.monotonic()
        text = await self._exchange("POST", request.path, request.body() if body is None else body, timeout)
        return read_answer(text, request, time.monotonic() - start, where=self.url)

    async def post(self, path: str, body: Mapping[str, Any], *, timeout: float = 120.0) -> dict[str, Any]:
        """Send a body as it is; the JSON object that answers it. Raises ChatError."""
        text = await self._exchange("POST", path, dict(body), timeout)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise broken("not JSON", text, self.url) from error
        if not isinstance(answer, dict) or "error" in answer:
            raise broken("an error with status 200", text, self.url)
        return answer

    async def models(self, *, timeout: float = 10.0, fresh: bool = False) -> list[ModelCard]:
        """What the server serves, its own name first; `fresh` opens a new connection for it. Raises ChatError."""
        if fresh:
            async with Chat(self._to, limit=1) as other:
                return await other.models(timeout=timeout)
        text = await self._exchange("GET", "/v1/models", None, timeout)
        try:
            cards = json.loads(text)["data"]
            return [ModelCard(str(c["id"]), c.get("root"), c.get("parent"), c.get("max_model_len")) for c in cards]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise broken("no list of models", text, self.url) from error

    async def load_adapter(self, name: str, path: Path, *, timeout: float = 120.0) -> None:
        """Load an adapter under a new name; a name that is taken is an error, never replaced. Raises ChatError."""
        await self._exchange("POST", LOAD, {"lora_name": name, "lora_path": str(path)}, timeout)

    async def unload_adapter(self, name: str, *, timeout: float = 30.0) -> None:
        """Unload an adapter. Raises ChatError."""
        await self._exchange("POST", "/v1/unload_lora_adapter", {"lora_name": name}, timeout)

    async def tokens(self, request: ChatRequest, *, timeout: float = 30.0) -> list[int]:
        """The token ids that the server reads for a request, by /tokenize. Raises ChatError."""
        text = await self._exchange("POST", "/tokenize", request.tokenize_body(), timeout)
        try:
            return [int(token) for token in json.loads(text)["tokens"]]
        except (ValueError, KeyError, TypeError) as error:
            raise broken("no tokens", text, self.url) from error

    async def version(self, *, timeout: float = 10.0) -> str:
        """The server's version text. Raises ChatError."""
        text = await self._exchange("GET", "/version", None, timeout)
        try:
            return str(json.loads(text)["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise broken("no version", text, self.url) from error

    async def waiting(self, *, timeout: float = 10.0) -> float:
        """How many requests wait in the server's queue, by its /metrics. Raises ChatError where it does not tell."""
        text = await self._exchange("GET", "/metrics", None, timeout)
        found = _WAITING.findall(text)
        if not found:
            raise broken("no count of waiting requests", text, self.url)
        return sum(map(float, found))

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | bytes | None, timeout: float) -> str:
        """One request within `timeout` seconds; the body of a 2xx answer."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        if self._session is None:
            raise RuntimeError("use `async with Chat(url) as chat`")
        try:
            async with self._session.request(
                method,
                self.url + path,
                data=data,
                headers=_JSON if data is not None else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                raw = await response.read()
                text = raw.decode("utf-8", errors="replace")
                if response.status < 200 or response.status > 299:
                    raise status_error(response.status, text, response.headers.get("Retry-After"), self.url)
                return text
        except TimeoutError as error:
            what = f"no answer within {timeout:g} s"
            raise ChatError(what, failure_class="timeout", where=self.url) from error
        except aiohttp.ClientResponseError as error:
            raise broken("not HTTP", error.message, self.url) from error
        except aiohttp.ClientError as error:
            what = f"the connection failed: {str(error)[:SHOWN] or type(error).__name__}"
            refused = isinstance(error, aiohttp.ClientConnectorError)
            raise ChatError(what, failure_class="connection", where=self.url, unreachable=refused) from error

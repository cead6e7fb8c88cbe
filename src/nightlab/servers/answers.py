"""What is asked of a model server, what an answer is, and the closed classes of everything that is not one.

A status of 200 counts only when the body keeps the contract: a choice, token counts, the name of the asked model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from nightlab.errors import ContractBroken, NightlabError

FailureClass = Literal[
    "rate_limited",
    "server_error",
    "connection",
    "timeout",
    "contract_broken",
    "not_found",
    "bad_request",
    "cancelled",
]
RETRYABLE: frozenset[str] = frozenset({"rate_limited", "server_error", "connection", "timeout"})
SHOWN = 300  # characters of a foreign body that an error message quotes

T = TypeVar("T")

_STATUS: dict[int, FailureClass] = {404: "not_found", 408: "timeout", 429: "rate_limited", 499: "cancelled"}


class ChatError(NightlabError):
    """A request that was not answered; `failure_class` says how, `body` holds what came instead."""

    def __init__(
        self,
        what: str,
        *,
        failure_class: FailureClass,
        where: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        body: str = "",
        unreachable: bool = False,
    ) -> None:
        super().__init__(what, where=where)
        self.failure_class = failure_class
        self.status = status
        self.retry_after = retry_after
        self.body = body
        self.unreachable = unreachable
        """Whether the server took no connection at all."""


class BrokenAnswer(ChatError, ContractBroken):
    """Status 200, and the body is no answer."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatRequest:
    """What is asked of one served model: messages (a trailing assistant message is continued) or a raw prompt."""

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 64
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    continue_final: bool | None = None
    """Continue the last message; None: exactly when the assistant wrote it."""

    @property
    def path(self) -> str:
        """The route that takes it."""
        return "/v1/chat/completions" if self.prompt is None else "/v1/completions"

    def body(self) -> dict[str, Any]:
        """The JSON body. The two prefill fields stand at the top level: in `chat_template_kwargs` vLLM ignores them."""
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
        }
        if self.seed is not None:
            body["seed"] = self.seed
        if self.stop:
            body["stop"] = list(self.stop)
        if self.prompt is not None:
            return body | {"prompt": self.prompt} | ({"logprobs": 1} if self.logprobs else {})
        body["messages"] = [{"role": m.role, "content": m.content} for m in self.messages]
        if self.logprobs:
            body["logprobs"] = True
        if self.continues:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def tokenize_body(self) -> dict[str, Any]:
        """The JSON body for /tokenize: what would be read, without an answer."""
        if self.prompt is not None:
            return {"model": self.model, "prompt": self.prompt}
        kept = ("model", "messages", "continue_final_message", "add_generation_prompt")
        return {name: value for name, value in self.body().items() if name in kept}

    @property
    def continues(self) -> bool:
        """Whether the last message is continued."""
        if self.continue_final is not None:
            return self.continue_final
        return bool(self.messages) and self.messages[-1].role == "assistant"


@dataclass(frozen=True)
class Answer:
    """An answer that kept the contract; `tokens` and `logprobs` are there when they were asked for."""

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    fingerprint: str | None
    latency: float
    tokens: tuple[str, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ModelCard:
    """One line of /v1/models: for an adapter `root` is its path and `parent` the served model.

    `context` is how many tokens a prompt and its answer may have together, where the server tells it.
    """

    id: str
    root: str | None
    parent: str | None
    context: int | None = None


def read_answer(text: str, request: ChatRequest, latency: float, *, where: str) -> Answer:
    """The answer in a 200 body. Raises BrokenAnswer where it does not keep the contract."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken("the body is not JSON", text, where) from error
    if not isinstance(data, dict) or "error" in data or data.get("object") == "error":
        raise broken("status 200 with an error in the body", text, where)
    if data.get("model") != request.model:
        raise broken(f"asked {request.model!r}, answered by {str(data.get('model'))[:SHOWN]!r}", text, where)
    try:
        choice, usage = data["choices"][0], data["usage"]
        content = choice["text"] if request.prompt is not None else choice["message"]["content"]
        answer = Answer(
            text=_typed(content, str),
            finish_reason=_typed(choice["finish_reason"], str),
            model=request.model,
            prompt_tokens=_typed(usage["prompt_tokens"], int),
            completion_tokens=_typed(usage["completion_tokens"], int),
            fingerprint=data.get("system_fingerprint"),
            latency=latency,
            **_logprobs(choice, request),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise broken("no complete choice with token counts", text, where) from error
    if answer.finish_reason == "abort":
        raise ChatError("the server gave the request up", failure_class="cancelled", where=where, status=200, body=text)
    return answer


def _typed(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _logprobs(choice: dict[str, Any], request: ChatRequest) -> dict[str, tuple[Any, ...]]:
    if not request.logprobs:
        return {}
    found = choice["logprobs"]
    if request.prompt is not None:
        tokens, values = found["tokens"], found["token_logprobs"]
    else:
        tokens = [entry["token"] for entry in found["content"]]
        values = [entry["logprob"] for entry in found["content"]]
    return {"tokens": tuple(map(str, tokens)), "logprobs": tuple(map(float, values))}


def broken(what: str, body: str, where: str) -> BrokenAnswer:
    """A body that came with 200 and is not what was asked for."""
    return BrokenAnswer(
        f"{what}: {body[:SHOWN]!r}", failure_class="contract_broken", where=where, status=200, body=body
    )


def status_error(status: int, text: str, retry_after: str | None, where: str) -> ChatError:
    """A status that is not 2xx, classified."""
    fallback: FailureClass = "server_error" if status >= 500 else "bad_request" if status >= 400 else "contract_broken"
    what = f"HTTP {status}: {error_message(text)}"
    kind = _STATUS.get(status, fallback)
    wait = float(retry_after) if retry_after and retry_after.replace(".", "", 1).isdigit() else None
    return ChatError(what, failure_class=kind, where=where, status=status, retry_after=wait, body=text)


def error_message(text: str) -> str:
    """The message inside an error body, bounded; the body itself where it has none."""
    try:
        data = json.loads(text)
    except ValueError:
        return repr(text[:SHOWN])
    inner = data.get("error", data) if isinstance(data, dict) else data
    message = inner.get("message", inner) if isinstance(inner, dict) else inner
    return str(message)[:SHOWN]

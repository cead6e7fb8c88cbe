"""What is sent for a cell, and the lines that its answer or its failures become.

A form holds what the cells of one condition and prompt have in common, as JSON texts: at thousands of cells a second,
writing the same messages anew for each costs as much as asking.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

from nightlab.experiments.cells import Cell
from nightlab.files import now
from nightlab.servers.chat import Answer, BrokenAnswer, ChatError, ChatRequest, Message

FORMS = 1024  # kept at a time, by each share


@dataclass(frozen=True)
class Form:
    """What is sent for the cells of a condition and prompt, and the start of their lines."""

    request: ChatRequest
    """Without the seed."""
    names: str
    content: str

    @classmethod
    def of(cls, cell: Cell, served: str) -> Form:
        """The form of a cell's condition and prompt, asked under a served model name."""
        named = ("model", "model_id", "condition", "prompt", "category")
        asked = cell.request
        content: dict[str, object] = {"raw": asked["raw"]} if "raw" in asked else {"messages": asked["messages"]}
        return cls(_request(cell, served, None), _inner({name: getattr(cell, name) for name in named}), _inner(content))

    @functools.cached_property
    def _body(self) -> bytes:
        return _plain(self.request.body()).removesuffix("}").encode()

    def body(self, cell: Cell) -> bytes:
        """The body of a cell's request."""
        return b'%b,"seed":%d}' % (self._body, cell.seed)

    def line(self, cell: Cell, answer: Answer, server: str, attempt: int, canary: str | None = None) -> bytes:
        """A line of samples.jsonl. Raises BrokenAnswer for a text that is not Unicode (half a surrogate pair)."""
        own = f'"replicate":{cell.replicate},"seed":{cell.seed}'
        text = json.dumps(answer.text, ensure_ascii=False)
        rest = _inner(
            {
                "finish_reason": answer.finish_reason,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "server": server,
                "served_model": answer.model,
                "canary": canary,
                "system_fingerprint": answer.fingerprint,
                "t": now(),
                "latency": round(answer.latency, 4),
                "attempt": attempt,
            }
        )
        try:
            return f'{{"key":"{cell.key}",{self.names},{own},{self.content},"text":{text},{rest}}}\n'.encode()
        except UnicodeEncodeError:
            raise BrokenAnswer("the answer is not Unicode text", failure_class="contract_broken", status=200) from None


class Forms:
    """The forms of one share, by condition and prompt."""

    def __init__(self, conditions: dict[str, str]) -> None:
        self._conditions = conditions
        self._known: dict[tuple[str, str], Form] = {}

    def of(self, cell: Cell) -> Form:
        """The form of a cell."""
        name = (cell.condition, cell.prompt)
        form = self._known.get(name)
        if form is None:
            if len(self._known) >= FORMS:
                self._known.clear()
            form = self._known[name] = Form.of(cell, self._conditions[cell.condition])
        return form


def chat_request(cell: Cell, served: str) -> ChatRequest:
    """What is sent for a cell to the served model name of its condition."""
    return _request(cell, served, cell.seed)


def _request(cell: Cell, served: str, seed: int | None) -> ChatRequest:
    asked = cell.request
    return ChatRequest(
        model=served,
        messages=tuple(Message(m["role"], m["content"]) for m in asked.get("messages", ())),
        prompt=asked.get("raw"),
        temperature=asked["temperature"],
        top_p=asked["top_p"],
        max_tokens=asked["max_tokens"],
        seed=seed,
        stop=tuple(asked["stop"]),
        continue_final=None if asked["mode"] == "raw" else asked["mode"] == "continue",
    )


def failure_row(cell: Cell, error: ChatError, server: str, attempt: int) -> dict[str, object]:
    """A line of failures.jsonl; the error's text is bounded and made plain."""
    text = error.what[:500].encode("utf-8", "replace").decode("utf-8")
    return {
        "key": cell.key,
        "class": error.failure_class,
        "error": text,
        "server": server,
        "attempt": attempt,
        "t": now(),
    }


def _inner(value: dict[str, object]) -> str:
    """The inside of an object's JSON."""
    return _plain(value)[1:-1]


def _plain(value: object) -> str:
    """Compact JSON that UTF-8 can hold: half a surrogate pair is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text

"""One server's share of a sweep: its cells, a bounded number in flight, each asked until answered or given up."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nightlab.budget import Budget
from nightlab.errors import BudgetExceeded
from nightlab.experiments.cells import Cell
from nightlab.experiments.samples import Writer
from nightlab.files import now
from nightlab.servers.chat import Answer, BrokenAnswer, Chat, ChatError, ChatRequest, Message

RETRIED = frozenset({"rate_limited", "server_error", "connection", "timeout", "contract_broken", "cancelled"})
ATTEMPTS = 5
PAUSE = 0.25
LONGEST_PAUSE = 8.0
LONGEST_WAIT_ASKED_FOR = 60.0


@dataclass(frozen=True)
class Endpoint:
    """A proven server: its URL and id, and the served model name that gives each condition."""

    url: str
    server: str
    conditions: Mapping[str, str]


@dataclass(frozen=True)
class Stopped:
    """Why a share was given up: the failure's class, one of its texts, and how many cells in a row it met."""

    model: str
    server: str
    failure: str
    error: str
    times: int

    @property
    def why(self) -> str:
        """One sentence."""
        return f"{self.failure}, {self.times} times in a row: {self.error}" if self.times else self.error


class Share:
    """The cells that one server has to answer, and what became of them so far."""

    def __init__(
        self,
        model: str,
        endpoint: Endpoint,
        cells: Sequence[Cell],
        answers: Writer,
        failures: Writer,
        max_identical_failures: int,
        budget: Budget | None,
        tick: Callable[[], None],
    ) -> None:
        self.model = model
        self.asked = self.answered = self.failed = 0
        self.stopped: Stopped | None = None
        self._endpoint = endpoint
        self._cells = iter(cells)
        self._answers, self._failures = answers, failures
        self._limit, self._budget, self._tick = max_identical_failures, budget, tick
        self._streak: tuple[str, int] = ("", 0)

    async def run(self, concurrency: int, timeout: float) -> None:
        """Ask all cells, at most `concurrency` at a time; each attempt may take `timeout` seconds."""
        async with Chat(self._endpoint.url, limit=concurrency) as chat:
            workers = [asyncio.create_task(self._work(chat, timeout)) for _ in range(concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, chat: Chat, timeout: float) -> None:
        for cell in self._cells:
            if self._over():
                return
            self.asked += 1
            await self._ask(chat, cell, timeout)
            self._tick()

    def _over(self) -> bool:
        """Whether nothing more may be asked: the share was given up, or the deadline is past."""
        if self.stopped is None and self._budget is not None:
            try:
                self._budget.check_clock()
            except BudgetExceeded as error:
                self.stopped = Stopped(self.model, self._endpoint.server, "clock", error.what, 0)
        return self.stopped is not None

    def _bounded(self, timeout: float) -> float:
        """A request's own limit, or less where the deadline comes first."""
        left = self._budget.seconds_left() if self._budget else None
        return timeout if left is None else min(timeout, max(left, 0.1))

    async def _ask(self, chat: Chat, cell: Cell, timeout: float) -> None:
        served = self._endpoint.conditions[cell.condition]
        request = chat_request(cell, served)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await chat.complete(request, timeout=self._bounded(timeout))
                self._answers.put(sample_row(cell, answer, self._endpoint.server, attempt))
            except ChatError as error:
                self._failures.put(failure_row(cell, error, self._endpoint.server, attempt))
                if error.failure_class not in RETRIED or attempt == ATTEMPTS or self._over():
                    self._give_up(error)
                    return
                await asyncio.sleep(pause(attempt, error.retry_after))
            else:
                self.answered += 1
                self._streak = ("", 0)
                return

    def _give_up(self, error: ChatError) -> None:
        self.failed += 1
        kind = f"{error.failure_class}: {re.sub('[0-9a-f]{8,}|[0-9]+', '#', error.what)}"
        self._streak = (kind, self._streak[1] + 1) if self._streak[0] == kind else (kind, 1)
        if self._streak[1] >= self._limit and self.stopped is None:
            server, times = self._endpoint.server, self._streak[1]
            self.stopped = Stopped(self.model, server, error.failure_class, error.what[:300], times)


def pause(attempt: int, asked_for: float | None = None) -> float:
    """Seconds before the next attempt: random below a doubling cap, at least what the server asked for."""
    wait = random.uniform(0, min(LONGEST_PAUSE, PAUSE * 2**attempt))
    return max(wait, min(asked_for or 0.0, LONGEST_WAIT_ASKED_FOR))


def chat_request(cell: Cell, served: str) -> ChatRequest:
    """What is sent for a cell to the served model name of its condition."""
    asked = cell.request
    return ChatRequest(
        model=served,
        messages=tuple(Message(m["role"], m["content"]) for m in asked.get("messages", ())),
        prompt=asked.get("raw"),
        temperature=asked["temperature"],
        top_p=asked["top_p"],
        max_tokens=asked["max_tokens"],
        seed=cell.seed,
        stop=tuple(asked["stop"]),
        continue_final=None if asked["mode"] == "raw" else asked["mode"] == "continue",
    )


def sample_row(cell: Cell, answer: Answer, server: str, attempt: int) -> dict[str, object]:
    """A line of samples.jsonl. Raises BrokenAnswer for a text that is not Unicode (it holds half a surrogate pair)."""
    try:
        answer.text.encode("utf-8")
    except UnicodeEncodeError:
        raise BrokenAnswer("the answer is not Unicode text", failure_class="contract_broken", status=200) from None
    asked = cell.request
    content: dict[str, object] = {"raw": asked["raw"]} if "raw" in asked else {"messages": asked["messages"]}
    return {
        "key": cell.key,
        "model": cell.model,
        "model_id": cell.model_id,
        "condition": cell.condition,
        "prompt": cell.prompt,
        "category": cell.category,
        "replicate": cell.replicate,
        "seed": cell.seed,
        **content,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "server": server,
        "served_model": answer.model,
        "system_fingerprint": answer.fingerprint,
        "t": now(),
        "latency": round(answer.latency, 4),
        "attempt": attempt,
    }


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

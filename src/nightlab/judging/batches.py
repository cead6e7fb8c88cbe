"""Requests through the Message Batches API: half the price, an hour or so, and never paid twice.

What is sent is announced in the log first, then sent, then named there before anything else. After a crash a named
batch is asked for again; one that was announced and not named is looked for among the account's batches by the mark in
its requests' ids, and sent again only where it is not there. Results come in any order; what expired or errored is told
to the caller, who may send it again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import anthropic
import httpx2

from nightlab.brains.retries import Retry, RetryPolicy, persist
from nightlab.errors import NightlabError
from nightlab.files import canonical
from nightlab.judging.asking import Ask
from nightlab.judging.log import BatchLog, Reply, Sent
from nightlab.judging.reader import Transport

T = TypeVar("T")

DAY = 26 * 3600.0
POLL = 2.0
LONGEST_POLL = 60.0
ROUTE = "/v1/messages/batches"
CLOCKS_APART = 600.0
"""Seconds by which the API's clock may differ from ours when a batch is looked for by its time."""


class BatchPending(NightlabError):
    """The deadline comes before a message batch ends; it goes on, and the next judging collects it."""


class MessageBatches:
    """The Message Batches API."""

    batched = True

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        *,
        poll: float = POLL,
        policy: RetryPolicy | None = None,
        seconds_left: Callable[[], float | None] = lambda: None,
        on_retry: Callable[[Retry], None] = lambda _: None,
    ) -> None:
        self.client = client
        self._poll = poll
        self._policy = policy or RetryPolicy(attempt=DAY, total=DAY)
        self._seconds_left, self._on_retry = seconds_left, on_retry

    async def send(self, asks: Sequence[Ask], log: BatchLog | None) -> list[Reply]:
        """Collect what runs already, send the rest, wait for it. Raises BatchPending, BrainFailed."""
        if log is None:
            raise ValueError("message batches need a log: without one they could be paid twice")
        came = await self.collect(log)
        missing = [one for one in asks if one.id not in came]
        if missing:
            came |= await self._collect(log, await self._create(missing, log))
        return [came.get(one.id) or Reply(one.id, failed="no result", batched=True) for one in asks]

    async def collect(self, log: BatchLog) -> dict[str, Reply]:
        """The replies of what was sent in an earlier life."""
        came: dict[str, Reply] = {}
        for sent in log.open:
            if not sent.id:
                await self._claim(log, sent)
            if not sent.collected:
                came |= await self._collect(log, sent)
        return came

    async def _create(self, asks: Sequence[Ask], log: BatchLog) -> Sent:
        """Announce, send, name. An attempt that broke may have arrived: it is looked for before another one."""
        sent: Sent | None = None

        async def attempt() -> Sent:
            nonlocal sent
            if sent is not None and not sent.collected:
                await self._claim(log, sent)
                if sent.id:
                    return sent
            nonce = secrets.token_hex(6)
            sent = await log.intend(nonce, [one.id for one in asks])
            requests = [{"custom_id": f"{nonce}-{one.id}", "params": one.body} for one in asks]
            body = canonical({"requests": requests}).encode("utf-8")
            try:
                made = await self.client.post(ROUTE, content=body, cast_to=httpx2.Response)
            except anthropic.APIStatusError as error:
                if error.status_code < 500:
                    await log.collected(nonce, "lost")  # it was refused: nothing runs
                raise
            await log.name(nonce, str(made.json()["id"]))
            return sent

        return await self._persist(attempt)

    async def _claim(self, log: BatchLog, sent: Sent) -> None:
        """Find what was announced and not named; `lost` where it never arrived."""
        async for found in self._made_near(sent):
            ended = await self._wait(found)
            first = next(iter(await self._persist(partial(self._results, ended))), None)
            if first and str(first.get("custom_id")).startswith(f"{sent.nonce}-"):
                await log.name(sent.nonce, found)
                return
        await log.collected(sent.nonce, "lost")

    async def _made_near(self, sent: Sent) -> AsyncIterator[str]:
        """The batches of the account that were made at that time with so many requests."""
        at = datetime.fromisoformat(sent.t).timestamp()
        async for batch in self.client.messages.batches.list(limit=100):
            made = batch.created_at.timestamp()
            if made < at - CLOCKS_APART:
                return
            counts = batch.request_counts
            size = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if made < at + CLOCKS_APART and size == len(sent.requests):
                yield batch.id

    async def _collect(self, log: BatchLog, sent: Sent) -> dict[str, Reply]:
        ended = await self._wait(sent.id)
        rows = await self._persist(partial(self._results, ended))
        replies = [_reply(row, sent.nonce) for row in rows]
        given = {reply.request for reply in replies}
        replies += [Reply(name, failed="no result", batched=True) for name in sent.requests if name not in given]
        await log.keep(replies)
        await log.collected(sent.nonce)
        return {reply.request: reply for reply in replies}

    async def _wait(self, name: str) -> str:
        """Until a batch has ended; its id. Raises BatchPending where the deadline is first."""
        pause = self._poll
        while True:
            batch = await self._persist(lambda: self.client.messages.batches.retrieve(name))
            if batch.processing_status == "ended":
                return name
            left = self._seconds_left()
            if left is not None and left <= pause:
                hint = "judge again later: it is collected then, and not paid twice"
                raise BatchPending(f"the message batch {name} has not ended", where=name, hint=hint)
            await self._policy.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)

    async def _results(self, name: str) -> list[dict[str, Any]]:
        """The lines of an ended batch; none where they are archived or gone."""
        try:
            response = await self.client.get(f"{ROUTE}/{name}/results", cast_to=httpx2.Response)
        except anthropic.NotFoundError:
            return []
        return [json.loads(line) for line in response.text.splitlines() if line.strip()]

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        result, _ = await persist(attempt, self._policy, seconds_left=self._seconds_left, on_retry=self._on_retry)
        return result


class Chosen:
    """Calls or message batches, by what is gained and how much time is left."""

    batched = False  # what is reserved must do for either

    def __init__(
        self,
        calls: Transport,
        batches: MessageBatches,
        *,
        least: int = 50,
        hours: float = 3.0,
        seconds_left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._calls, self._batches = calls, batches
        self._least, self._seconds = least, hours * 3600
        self._seconds_left = seconds_left

    async def send(self, asks: Sequence[Ask], log: BatchLog | None) -> list[Reply]:
        """A batch for many requests when there are hours to wait for it; calls otherwise, and without a deadline."""
        came = await self._batches.collect(log) if log is not None and log.open else {}
        rest = [one for one in asks if one.id not in came]
        left = self._seconds_left()
        patient = left is not None and left >= self._seconds
        transport: Transport = (
            self._batches if patient and log is not None and len(rest) >= self._least else self._calls
        )
        sent: list[Reply] = await transport.send(rest, log) if rest else []
        return [reply for one in asks if (reply := came.get(one.id))] + sent


def _reply(row: dict[str, Any], nonce: str) -> Reply:
    request = str(row.get("custom_id")).removeprefix(f"{nonce}-")
    result = row.get("result") or {}
    message = result.get("message")
    if result.get("type") == "succeeded" and isinstance(message, dict):
        return Reply(request, message, batched=True)
    error = ((result.get("error") or {}).get("error") or {}).get("type")
    return Reply(request, failed=": ".join(filter(None, (str(result.get("type")), error))), batched=True)

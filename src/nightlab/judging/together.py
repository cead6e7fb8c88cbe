"""Many things at a time, and an end to all of them when one fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from nightlab.experiments.samples import Writer
from nightlab.judging.asking import Ask
from nightlab.judging.limiter import MOST
from nightlab.judging.log import BatchLog, Reply

T = TypeVar("T")


async def each(items: Iterable[T], do: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """Do something for each item, `at_once` at a time; the first error ends it when the running ones are cancelled."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    tasks = [asyncio.create_task(work()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask_each(asks: Sequence[Ask], one: Callable[[Ask], Awaitable[Reply]], log: BatchLog | None) -> list[Reply]:
    """The replies to requests; each is kept in the log when it comes, also where a later one fails for good."""
    replies: list[Reply] = []
    async with contextlib.AsyncExitStack() as stack:
        writer = await stack.enter_async_context(Writer(log.store)) if log else None

        async def answered(request: Ask) -> None:
            reply = await one(request)
            replies.append(reply)
            if log and writer:
                writer.put(log.take(reply))

        await each(asks, answered, min(len(asks), MOST))
    return replies

"""The replies to many requests, asked at a time and kept as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from nightlab.experiments.samples import Writer
from nightlab.judging.asking import Ask
from nightlab.judging.limiter import MOST
from nightlab.judging.log import BatchLog, Reply
from nightlab.together import each


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

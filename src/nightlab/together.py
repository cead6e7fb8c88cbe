"""Many things at a time, and an end to all of them when one fails.

`asyncio.TaskGroup` does the same and wraps the error in a group; here the first error comes as it is, so that a caller
can name it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all at once; the first error cancels the rest, and is raised when they have ended."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def each(items: Iterable[T], do: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """Do something for each item, `at_once` at a time; the first error ends it when the running ones are cancelled."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    await together(work() for _ in range(at_once))

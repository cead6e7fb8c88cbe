"""The open ways to servers, one for each server in an event loop: everybody who asks it shares its tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from nightlab.compute.route import Route

Key = tuple[str, str]
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, asyncio.Task[Route]]] = WeakKeyDictionary()


async def opened(key: Key, opening: Callable[[], Awaitable[Route]]) -> Route:
    """The way that is open, else a new one; what many ask for at once is opened once."""
    here = _open.setdefault(asyncio.get_running_loop(), {})

    async def work() -> Route:
        return await opening()

    if key not in here or (here[key].done() and (here[key].cancelled() or here[key].exception() is not None)):
        here[key] = asyncio.create_task(work())
    return await asyncio.shield(here[key])


async def closed(key: Key) -> None:
    """Close a way, where it was opened in this loop."""
    task = _open.get(asyncio.get_running_loop(), {}).pop(key, None)
    if task is None:
        return
    task.cancel()
    [route] = await asyncio.gather(task, return_exceptions=True)
    if not isinstance(route, BaseException):
        await route.close()


async def all_closed() -> None:
    """Close every way that was opened in this loop."""
    for key in list(_open.get(asyncio.get_running_loop(), {})):
        await closed(key)

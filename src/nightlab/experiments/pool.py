"""The cells of one model that are still to be asked, shared between the servers that serve it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from nightlab.experiments.cells import Cell


class Pool:
    """Hands out each cell once; one that a server gave up can be put back for the others.

    A cell is out until it is settled or put back. A server holds the cells of its last failures: they are settled, or
    put back if the server turns out to be the cause. A taker gets None when nothing is left and nothing can come back.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells: Iterator[Cell] = iter(cells)
        self._returned: deque[Cell] = deque()
        self._out = self._held = 0
        self._changed = asyncio.Event()

    async def take(self) -> Cell | None:
        """The next cell."""
        while True:
            cell = self._returned.popleft() if self._returned else next(self._cells, None)
            if cell is not None:
                self._out += 1
                return cell
            if self._out == self._held:
                return None
            self._changed.clear()
            await self._changed.wait()

    def settle(self) -> None:
        """A cell that is out is answered, or nobody will ask for it again."""
        self._out -= 1
        self._wake()

    def put_back(self, cell: Cell) -> None:
        """A cell that is out may be asked again, by any server."""
        self._returned.append(cell)
        self._out -= 1
        self._changed.set()

    def hold(self) -> None:
        """A cell that is out has failed, and is kept for now."""
        self._held += 1
        self._wake()

    def let_go(self, count: int) -> None:
        """Held cells are merely out again, before they are settled or put back."""
        self._held -= count

    def _wake(self) -> None:
        if self._out == self._held:
            self._changed.set()

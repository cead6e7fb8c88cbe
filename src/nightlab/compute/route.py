"""The way to one port of a job: who asks a server holds a route, never a port, and asks it for its URL each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

Proof = Callable[[str], Awaitable[bool]]
"""Whether the right server answers at a URL: an answer alone proves nothing, a stranger may stand there."""


class Route(Protocol):
    """A way to a port, open until it is closed."""

    @property
    def url(self) -> str:
        """Where the port is reached just now."""

    async def close(self) -> None:
        """Give the way up."""


@dataclass(frozen=True)
class Direct:
    """A port that this machine reaches by itself."""

    url: str

    async def close(self) -> None:
        """Nothing was opened."""


def at(host: str, port: int) -> Direct:
    """The direct way to a host and port."""
    return Direct(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

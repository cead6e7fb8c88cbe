"""A local port that leads through SSH to a port of a far machine, and comes back when the connection dies.

asyncssh and not an `ssh -L` child: it takes a free port from the kernel instead of guessing one, says at once that a
connection is gone, leaves no control socket or orphan behind, and speaks through any command as its transport. The
same local port is taken again after a break, another only where a stranger has it meanwhile; who holds the tunnel asks
it for its URL. After every reconnection the far end proves who it is. Needs the extra `cluster`.
Limit: the local port is on 127.0.0.1, so other users of this machine can reach it while the tunnel is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from nightlab.compute.route import Proof
from nightlab.errors import NightlabError, NotSetUp

if TYPE_CHECKING:
    import asyncssh

Dial = Callable[[], Awaitable["asyncssh.SSHClientConnection"]]
CONNECT = 15.0  # seconds that a connection may take
KEEPALIVE, SILENT = 3, 3  # a connection that leaves 3 questions, 3 s apart, unanswered is dead
LONGEST_PAUSE = 15.0
_FIRST_PAUSE = 0.2


class Tunnel:
    """The way to a port of a far machine. `dial` opens a connection; `repairs` counts how often it came back."""

    def __init__(self, dial: Dial, port: int, *, host: str = "127.0.0.1", proves: Proof | None = None) -> None:
        self.far = (host, port)
        self.repairs = 0
        self.trouble: str | None = None
        """Why it is down at present; None while it is up."""
        self._dial, self._proves = dial, proves
        self._port = 0
        self._connection: asyncssh.SSHClientConnection | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> Tunnel:
        """Connect for the first time, and keep it up from now on. Raises NightlabError."""
        try:
            await self._connect()
        except _troubles() as error:
            raise NightlabError(f"no tunnel to {self.far[0]}:{self.far[1]}: {_said(error)}") from error
        self._keeper = asyncio.create_task(self._keep())
        return self

    @property
    def url(self) -> str:
        """Where the far port is reached just now."""
        return f"http://127.0.0.1:{self._port}"

    async def close(self) -> None:
        """Take the local port away and end the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._hang_up()

    async def _keep(self) -> None:
        """Come back after every break, with pauses that grow."""
        while True:
            if self._connection is not None:
                await self._connection.wait_closed()
                self._connection, self.trouble = None, "the connection broke"
            pause = _FIRST_PAUSE
            while self._connection is None:
                try:
                    await self._connect()
                except _troubles() as error:
                    self.trouble = _said(error)
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
            self.repairs += 1

    async def _connect(self) -> None:
        """One connection with its forwarded port, whose far end has proven itself."""
        connection = await asyncio.wait_for(self._dial(), CONNECT)
        try:
            await self._forward(connection)
            if self._proves is not None and not await self._proves(self.url):
                raise ConnectionError("another server answers there, or none")
        except BaseException:
            connection.abort()
            raise
        self._connection, self.trouble = connection, None

    async def _forward(self, connection: asyncssh.SSHClientConnection) -> None:
        try:
            listener = await connection.forward_local_port("127.0.0.1", self._port, *self.far)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._port:
                raise
            listener = await connection.forward_local_port("127.0.0.1", 0, *self.far)
        self._port = listener.get_port()

    async def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._connection.wait_closed(), CONNECT)
            self._connection = None


def dial(host: str, **options: Any) -> Dial:
    """Connections to a host by its name in ssh_config: ProxyJump, User, IdentityFile and the like are taken from there.

    `config`: the path of another ssh_config; `proxy_command`: a command whose pipe is the transport. Raises NotSetUp.
    """
    ssh = library()

    async def connect() -> asyncssh.SSHClientConnection:
        kept = {"keepalive_interval": KEEPALIVE, "keepalive_count_max": SILENT, "login_timeout": CONNECT}
        connection: asyncssh.SSHClientConnection = await ssh.connect(host, **kept, **options)
        return connection

    return connect


def library() -> Any:
    """asyncssh. Raises NotSetUp where it is not installed."""
    try:
        import asyncssh
    except ImportError as error:
        raise NotSetUp("tunnels need asyncssh", hint='pip install "nightlab[cluster]"') from error
    return asyncssh


def _troubles() -> tuple[type[BaseException], ...]:
    return (OSError, TimeoutError, library().Error)


def _said(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]

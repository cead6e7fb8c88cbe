"""Troubles staged around a real model server: it dies at its start with a recorded log, answers badly, or is killed.

Put before a server's command: `python -m nightlab.testing.staged --die oom.log --unless 'max_num_seqs<=64' -- python -m
nightlab serve ... --port 8000`. With HTTP faults or a kill it stands in front of the server as a proxy, at the server's
own port. What happens is a real process's end and real HTTP; only the occasion is staged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from nightlab.testing.faults import Fault, Faults, commit_fault

_CONDITION = re.compile(r"(\w+)\s*(<=|>=|!=|=)\s*(.+)")
_PR_SET_PDEATHSIG = 1
_PASSED_ON = ("Content-Type", "Authorization", "Accept")


def options_of(command: Sequence[str]) -> dict[str, str]:
    """The flags of a command by name: `--max-num-seqs 8` is max_num_seqs; a flag without a value is true."""
    found: dict[str, str] = {}
    for word, after in zip(command, [*command[1:], "--"], strict=True):
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            found[name.replace("-", "_")] = value if equals else "true" if after.startswith("--") else after
    return found


def holds(condition: str, options: Mapping[str, str]) -> bool:
    """Whether `NAME<=VALUE`, `NAME>=VALUE`, `NAME=VALUE` or `NAME!=VALUE` is true of a command's flags."""
    parsed = _CONDITION.fullmatch(condition.strip())
    if parsed is None:
        raise SystemExit(f"staged: {condition!r} is no condition such as 'max_num_seqs<=64'")
    name, sign, wanted = parsed.groups()
    have = options.get(name)
    if sign in ("=", "!="):
        return ((have or "").lower() == wanted.lower()) is (sign == "=")
    if have is None:
        return False
    return float(have) <= float(wanted) if sign == "<=" else float(have) >= float(wanted)


class Stage:
    """One server with its staged troubles."""

    def __init__(
        self, command: list[str], faults: list[Fault], kill_after: int | None, last_words: Path | None
    ) -> None:
        self.command = command
        self.faults = Faults()
        self.faults.add(faults)
        self.kill_after, self.last_words = kill_after, last_words
        self.answered = 0
        self.child: asyncio.subprocess.Process | None = None
        self.inner = 0

    async def run(self) -> int:
        """Run the server to its end; its exit code."""
        place = self.command.index("--port") + 1
        port = int(self.command[place])
        self.inner = _free_port()
        inner = [*self.command[:place], str(self.inner), *self.command[place + 1 :]]
        self.child = await asyncio.create_subprocess_exec(*inner, preexec_fn=_end_with_parent)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{rest:.*}", self._forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            return await self.child.wait()
        except OSError as error:
            sys.stdout.write(f"OSError: [Errno {error.errno}] {error.strerror}: address already in use\n")
            return 1
        finally:
            await runner.cleanup()
            with contextlib.suppress(ProcessLookupError):
                self.child.kill()

    def _pass_on(self, number: int) -> None:
        assert self.child is not None
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(number)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = f"http://127.0.0.1:{self.inner}{request.path_qs}"
        completion = request.path.endswith("completions") and _is_work(json.loads(body))
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=600)) as session,
                session.request(request.method, url, data=body or None, headers=headers) as answer,
            ):
                content, status, kind = await answer.read(), answer.status, answer.content_type
        except ClientError:
            return _drop(request)
        if completion and self.kill_after is not None and self.answered >= self.kill_after:
            return await self._kill(request)
        whole = _json(content) if completion and status == 200 else None
        fault = None if whole is None else self.faults.meet(json.loads(body))
        if whole is not None and fault is not None:
            return await commit_fault(fault, request, whole)
        self.answered += completion
        return web.Response(body=content, status=status, content_type=kind)

    async def _kill(self, request: web.Request) -> web.StreamResponse:
        """The server is gone without a word of its own, as when the system takes its memory back."""
        assert self.child is not None
        if self.last_words is not None:
            sys.stdout.write(self.last_words.read_text(encoding="utf-8"))
            sys.stdout.flush()
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        return _drop(request)


def _end_with_parent() -> None:
    """A server whose stage is killed is killed with it, as a process of its job would be."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _json(content: bytes) -> dict[str, Any] | None:
    """An answer as JSON; None for one that another stage has spoiled already."""
    try:
        return dict(json.loads(content))
    except ValueError:
        return None


def _is_work(body: Mapping[str, object]) -> bool:
    """Whether a completion is asked for its text, and not by a proof that the server is ready."""
    most = body.get("max_tokens")
    return not body.get("logprobs") and (not isinstance(most, int) or most > 1)


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _once_more(count: Path | None, times: int) -> bool:
    """Whether this trouble is still to come: it comes `times` times, counted in a file over all starts."""
    if count is None:
        return True
    seen = int(count.read_text(encoding="ascii")) if count.exists() else 0
    if seen < times:
        count.parent.mkdir(parents=True, exist_ok=True)
        count.write_text(str(seen + 1), encoding="ascii")
    return seen < times


def main(arguments: list[str] | None = None) -> int:
    """Run a command with its troubles; its exit code, or the staged one."""
    words = sys.argv[1:] if arguments is None else arguments
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="staged", description="a real server with staged troubles")
    parser.add_argument("--die", type=Path, help="print this log and end, instead of starting")
    parser.add_argument("--code", type=int, default=1, help="the exit code of a server that dies")
    parser.add_argument("--unless", action="append", default=[], help="no trouble where a flag is so: NAME<=VALUE")
    parser.add_argument("--faults", default="[]", help="JSON list of Fault fields, committed on completions")
    parser.add_argument("--only", default="", help="no trouble unless the served name begins so")
    parser.add_argument("--kill-after", type=int, help="kill the server after so many completions")
    parser.add_argument("--last-words", type=Path, help="print this log when the server is killed")
    parser.add_argument("--times", type=int, default=1, help="how many starts have the trouble, with --count")
    parser.add_argument("--count", type=Path, help="a file that counts the starts")
    told = parser.parse_args(words[:cut])
    command = words[cut + 1 :]
    options = options_of(command)
    meant = options.get("served_name", "").startswith(told.only)
    spared = any(holds(condition, options) for condition in told.unless)
    troubled = meant and not spared and _once_more(told.count, told.times)
    if troubled and told.die is not None:
        sys.stdout.write(told.die.read_text(encoding="utf-8"))
        return int(told.code)
    faults = [Fault(**entry) for entry in json.loads(told.faults)] if troubled else []
    if not faults and (told.kill_after is None or not troubled):
        os.execvp(command[0], command)
    return asyncio.run(Stage(command, faults, told.kill_after if troubled else None, told.last_words).run())


if __name__ == "__main__":
    sys.exit(main())

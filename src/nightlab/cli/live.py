"""What a running night shows: a moving display on a terminal, one plain line per event anywhere else.

Off a terminal nothing moves and nothing is coloured, and a heartbeat line comes every five minutes, so that a log tells
whether the night is alive.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from nightlab.cli.lines import event_line
from nightlab.cli.session import is_live
from nightlab.morning.text import clean, duration

if TYPE_CHECKING:
    from rich.console import Group

HEARTBEAT = 300.0
QUIET = frozenset(["sweep_progress", "tool_started"])
Watch = Callable[[dict[str, Any]], None]


class Picture:
    """What is going on now, folded from the events so far."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.servers: dict[str, str] = {}
        self.sweeps: dict[str, tuple[int, int, int]] = {}
        self.doing: dict[str, tuple[str, float]] = {}
        self.last: list[str] = []
        self.usd = 0.0

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        kind = str(event.get("kind"))
        self.usd += _number(event.get("usd")) if kind == "turn" else 0.0
        if kind.startswith("server_"):
            self.servers[_name(event)] = kind.removeprefix("server_")
        elif kind in ("tool_started", "waiting"):
            self.doing[_call(event)] = (_work(event), time.monotonic())
        elif kind in ("tool_finished", "woke"):
            self.doing.pop(_call(event), None)
        elif kind.startswith("sweep_"):
            self._sweep(event)
        if not _is_quiet(event):
            self.last = [*self.last[-7:], event_line(event)]

    def _sweep(self, event: Mapping[str, Any]) -> None:
        name = clean(_share(event), 24)
        done, failed, total = self.sweeps.get(name, (0, 0, 0))
        total = int(_number(event.get("planned") or event.get("total") or total))
        done = int(_number(event.get("answered") if event.get("answered") is not None else event.get("done") or done))
        self.sweeps[name] = (done, int(_number(event.get("failed") or failed)), total)

    def now(self) -> str:
        """What is being done, and for how long: the heartbeat's line."""
        at = time.monotonic()
        works = [f"{work} for {duration(at - since)}" for work, since in self.doing.values()] or ["thinking"]
        return f"alive {duration(at - self.started)}  ${self.usd:.2f}  {', '.join(works)}"


@contextlib.contextmanager
def shown(*, plain: bool = False, err: bool = False, beat: float = HEARTBEAT) -> Iterator[Watch]:
    """Show events as they come: give the callback to `run_night`. `err` prints plain lines on stderr."""
    with _plain(err, beat) if plain or err or not is_live() else _moving() as watch:
        yield watch


@contextlib.contextmanager
def _plain(err: bool, seconds: float) -> Iterator[Watch]:
    picture, over = Picture(), threading.Event()

    def see(event: dict[str, Any]) -> None:
        picture.see(event)
        if not _is_quiet(event):
            click.echo(event_line(event), err=err)

    def beat() -> None:
        while not over.wait(seconds):
            click.echo(f"{time.strftime('%H:%M:%S')}  {picture.now()}", err=err)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield see
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _moving() -> Iterator[Watch]:
    from rich.console import Console
    from rich.live import Live

    picture, lock = Picture(), threading.Lock()

    def draw() -> Group:
        with lock:
            return _drawn(picture)

    def see(event: dict[str, Any]) -> None:
        with lock:
            picture.see(event)

    with Live(console=Console(), get_renderable=draw, refresh_per_second=4, transient=True):
        yield see


def _drawn(picture: Picture) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bars = Table.grid(padding=(0, 1))
    for name, (done, failed, total) in picture.sweeps.items():
        note = f"{done}/{total}" + (f"  failed {failed}" if failed else "")
        bars.add_row(Text(name), ProgressBar(total=max(total, 1), completed=done, width=24), Text(note))
    servers = "  ".join(f"{name} {state}" for name, state in picture.servers.items())
    lines = [Text(line, style="dim", no_wrap=True, overflow="crop") for line in picture.last]
    return Group(Text(picture.now(), style="bold"), *([Text(f"servers  {servers}")] if servers else []), bars, *lines)


def _is_quiet(event: Mapping[str, Any]) -> bool:
    """Whether an event changes only the picture: it is no line of its own."""
    return event.get("kind") in QUIET or (event.get("kind") == "tool_finished" and event.get("ok") is True)


def _name(event: Mapping[str, Any]) -> str:
    return clean(event.get("model") or event.get("server") or event.get("name") or "server", 24)


def _share(event: Mapping[str, Any]) -> str:
    models = event.get("models") or event.get("model")
    return (
        ", ".join(map(str, models)) if isinstance(models, list) else str(models or event.get("experiment") or "sweep")
    )


def _call(event: Mapping[str, Any]) -> str:
    return str(event.get("call") or event.get("tool") or "wait")


def _work(event: Mapping[str, Any]) -> str:
    handles = event.get("handles")
    return clean(event.get("tool") or f"waiting for {', '.join(handles) if isinstance(handles, list) else 'work'}", 60)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

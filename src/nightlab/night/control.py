"""What people order while a night runs: lines of an append-only file, which the night reads between turns and in waits.

No daemon and no port. Each order is carried out once and is an event with the person's name; to ask again for what
stands already changes nothing. A pause or a stop of an earlier launch does not bind a night that is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from nightlab import job_folder
from nightlab.budget import Budget, Limits
from nightlab.errors import NightlabError, StorageError, UsageError
from nightlab.events import EventLog
from nightlab.files import JsonLines, now
from nightlab.lab import Lab
from nightlab.night.lock import living_holder
from nightlab.night.state import limits_of, night_state

if TYPE_CHECKING:
    from nightlab.night.works import NightWorks

LISTEN = 0.5  # seconds between two looks at the file
LONGEST, NAME = 2000, 60  # characters of what a person says, and of their name
_PATIENCE = 5.0  # seconds that another order may take to be written

LIMITS = ("usd", "gpu_seconds", "deadline")
Kind = Literal["stop", "pause", "resume", "say", "budget"]


@dataclass(frozen=True)
class Order:
    """One line of the file; `fields` are `now` of a stop, `text` of words, limits of a budget."""

    id: str
    by: str
    kind: Kind
    t: str
    fields: dict[str, Any] = field(default_factory=dict)
    end: int = 0
    """The byte behind its line."""

    @property
    def key(self) -> str:
        """The key of its event."""
        return f"order/{self.id}"


def running(lab: Lab) -> str:
    """The night that runs on this lab now. Raises UsageError where none does."""
    for path in (lab.supervisor, lab.lock):
        if holder := living_holder(path):
            return holder.night
    newest = lab.latest_night()
    hint = "`nightlab run` starts one"
    if newest and night_state(lab, newest).state == "dead":
        hint = f"night {newest} was cut off: `nightlab run` goes on with it"
    raise UsageError("no night runs on this lab", where=lab.root, hint=hint)


def send(lab: Lab, kind: Kind, by: str, **fields: Any) -> tuple[str, bool]:
    """Write an order to the running night; its name, and False where what is asked for stands already.

    Raises UsageError where no night runs.
    """
    who = " ".join(by.split())[:NAME]
    if not who:
        raise UsageError("an order needs the name of who gives it", hint="--by NAME")
    night = running(lab)
    with _alone(lab):
        given = orders(lab.control(night))
        if _stands(lab, night, given, kind, who, fields):
            return night, False
        lines = JsonLines(lab.control(night))
        lines.append({"v": 1, "id": f"o{len(given) + 1}", "t": now(), "by": who, "kind": kind, "fields": fields})
        lines.close()
    return night, True


def orders(path: Path, offset: int = 0) -> list[Order]:
    """The orders from a byte of the file on; a line that is none is left out."""
    try:
        with path.open("rb") as source:
            source.seek(offset)
            data = source.read()
    except FileNotFoundError:
        return []
    return list(_parsed(data[: data.rfind(b"\n") + 1], offset))


def _parsed(data: bytes, end: int) -> Iterator[Order]:
    for line in data.splitlines(keepends=True):
        end += len(line)
        with contextlib.suppress(ValueError, KeyError, TypeError):  # written by hand, and no order
            row = json.loads(line)
            if row["kind"] in get_args(Kind):
                yield Order(str(row["id"]), str(row["by"]), row["kind"], str(row["t"]), dict(row["fields"]), end)


def _stands(lab: Lab, night: str, given: list[Order], kind: Kind, by: str, fields: dict[str, Any]) -> bool:
    """Whether an order asks for nothing new."""
    events = list(EventLog(lab.night(night)).read())
    seen = {row.get("key") for row in events}
    waiting = [order for order in given if order.key not in seen]
    if kind == "stop":
        return any(order.kind == "stop" and order.fields.get("now", False) >= fields["now"] for order in given)
    if kind == "say":
        return any((order.kind, order.by, order.fields) == (kind, by, fields) for order in waiting)
    if kind == "budget":
        limits = limits_of(events)
        for order in waiting:
            limits |= order.fields if order.kind == "budget" else {}
        return all(limits.get(name) == value for name, value in fields.items())
    words = [row["kind"] == "paused" for row in events if row["kind"] in ("paused", "unpaused")]
    words += [order.kind == "pause" for order in waiting if order.kind in ("pause", "resume")]
    return (words[-1] if words else False) == (kind == "pause")


@contextlib.contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    """One writer of orders at a time."""
    fd = job_folder.lock(str(lab.cache), "control", _PATIENCE)
    if fd is None:
        raise StorageError("another command is writing an order", where=lab.cache, hint="try again")
    try:
        yield
    finally:
        os.close(fd)


class Control:
    """The running night's ear for orders; those before byte `heard` of the file are of an earlier launch."""

    def __init__(self, lab: Lab, night: str, events: EventLog, budget: Budget, works: NightWorks, heard: int) -> None:
        self.events, self.budget, self.works = events, budget, works
        self.now = asyncio.Event()
        """Set when the night must end without finishing its step."""
        self.stale = False
        """Whether an earlier launch was asked to stop: then this night is only closed."""
        self._path, self._heard, self._offset = lab.control(night), heard, 0
        self._paused = False
        self._words: list[Order] = []
        self.hear()
        if not self._paused and _is_paused(events):
            events.emit("unpaused", by="a new launch")

    def hear(self) -> None:
        """Carry out the orders that came since."""
        if size_of(self._path) <= self._offset:
            return
        for order in orders(self._path, self._offset):
            self._take(order, order.end <= self._heard)
            self._offset = order.end

    async def listen(self) -> None:
        """Hear orders until cancelled."""
        while True:
            with contextlib.suppress(NightlabError):  # a full disk may have room at the next look
                self.hear()
            await asyncio.sleep(LISTEN)

    async def ready(self) -> None:
        """Return when a turn may be taken: at once, or when a pause ends, the night must stop, or its time is up."""
        self.hear()
        while self._paused and not self.works.stop.is_set() and self.budget.seconds_left() != 0.0:
            await asyncio.sleep(LISTEN)
            self.hear()

    def words(self) -> Iterator[tuple[str, str]]:
        """What people said since the last turn, as keys and texts of messages; each is told once."""
        self.works.stir.clear()
        while self._words:
            order = self._words[0]
            yield order.key, _told(order)
            if order.kind == "say":
                self.events.once(order.key, "said", by=order.by, text=order.fields.get("text", ""), read=True)
            del self._words[0]

    def _take(self, order: Order, old: bool) -> None:
        match order.kind:
            case "stop":
                self._stop(order, old)
            case "pause" | "resume":
                self.events.once(order.key, "paused" if order.kind == "pause" else "unpaused", by=order.by)
                self._paused = order.kind == "pause" and not old
            case "say":
                if not self.events.has(order.key):
                    self._later(order)
            case "budget":
                self._limit(order)

    def _stop(self, order: Order, old: bool) -> None:
        at_once = bool(order.fields.get("now"))
        self.events.once(order.key, "stop_asked", by=order.by, now=at_once)
        self.stale |= old
        self.works.why_stopped = f"stopped by {order.by}" + (" at once" if at_once else "")
        self.works.stop.set()
        if at_once:
            self.now.set()

    def _limit(self, order: Order) -> None:
        if self.events.has(order.key):
            return
        given = {name: float(order.fields[name]) for name in LIMITS if name in order.fields}
        limits = Limits(**asdict(self.budget.limits) | given)
        self.events.once(order.key, "budget_changed", by=order.by, limits=asdict(limits))
        self.budget.change(limits)
        self._later(order)

    def _later(self, order: Order) -> None:
        """Tell the agent at its next turn, and end its waits, so that this turn comes."""
        self._words.append(order)
        self.works.stir.set()


def size_of(path: Path) -> int:
    """The bytes of a file; 0 where it is not there."""
    return path.stat().st_size if path.exists() else 0


def left_unread(lab: Lab, night: str, events: EventLog) -> None:
    """Record what people said too late to be read by the night's agent."""
    for order in orders(lab.control(night)):
        if order.kind == "say":
            events.once(order.key, "said", by=order.by, text=str(order.fields.get("text", "")), read=False)


def _is_paused(events: EventLog) -> bool:
    words = [row["kind"] for row in events.read() if row["kind"] in ("paused", "unpaused")]
    return words[-1:] == ["paused"]


def _told(order: Order) -> str:
    """An order as the agent reads it: the person's words are quoted, line by line."""
    if order.kind == "budget":
        return f"{order.by} changed the night's limits ({order.t}): {json.dumps(order.fields)}."
    quoted = "\n".join(f"> {line}" for line in str(order.fields.get("text", ""))[:LONGEST].splitlines())
    return (
        f"{order.by}, a person of this lab, says while the night runs ({order.t}):\n\n{quoted}\n\n"
        "Take it into account from now on, and say in the diary what you did about it."
    )

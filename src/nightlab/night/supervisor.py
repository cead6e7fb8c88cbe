"""The supervisor: no model, few imports. It starts the night's worker, watches it, starts it again, and ends the night.

What it knows stands in files: the worker's heartbeat, the event log, the outcome beside the launch file. It writes
events only while no worker lives. Whatever becomes of the worker, the night is wrapped up by code. It may itself be
killed at any moment: the worker goes on alone, and the next supervisor takes it over.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night.child import Adopted, Child
from nightlab.night.clocks import Clocks, Deadline, Patience, Watched
from nightlab.night.following import Following
from nightlab.night.lock import LabLock, orphan
from nightlab.night.options import Ending, Launch, Result, named
from nightlab.night.room import wait_for_room
from nightlab.night.worker import LOG, error_of

LOOK = 0.2  # seconds between two looks
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NEVER = float("inf")


class Supervisor:
    """One launch of a night. `asked` counts the signals that asked it to end.

    `only_closed`: the night was cut off before, and there was nothing left to do but to wrap it up.
    """

    def __init__(
        self,
        lab: Lab,
        launch: Launch,
        *,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        patience: Patience | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        clocks = clocks or Clocks()
        self.lab, self.launch, self.on_event = lab, launch, on_event
        self.patience = patience or Patience.of(lab)
        self.asked = 0
        self.only_closed = False
        self.deadline, self.watched = Deadline(clocks), Watched(clocks)
        self.log = Following(lab.night(launch.night), self._see)

    def run(self) -> Result:
        """Watch the night until it is over and wrapped up. Raises LockHeld, and what kept it from beginning."""
        lost = 0
        with LabLock(self.lab.supervisor).hold(self.launch.night) as lock, self._signals():
            if not orphan(self.lab):
                (self.lab.worker / LOG).unlink(missing_ok=True)
            while True:
                since = self.watched.look()
                child = self._worker(lock)
                why = self._watch(child)
                child.kill()
                self.log.follow()
                if orphan(self.lab) or self._had_no_room():
                    continue  # an earlier launch's worker was first at the lock; or it was no fault of the worker
                if result := self._over(child, why or child.why(), lost):
                    return result
                lost = 1 if self.watched.seconds - since > self.patience.healthy else lost + 1
                self._pause(min(60.0, self.patience.pause * 2 ** (lost - 1)))

    def _worker(self, lock: LabLock) -> Child:
        """The worker that an earlier supervisor left behind, with its night; else one of its own."""
        with contextlib.suppress(ProcessLookupError):
            if left := orphan(self.lab):
                if left.night != self.launch.night:  # it was too young to be seen when this launch chose its night
                    self.launch = replace(self.launch, night=left.night)
                    self.log = Following(self.lab.night(left.night), self._see)
                    lock.tell(left.night)
                self.log.begun = True
                return Adopted(self.lab, left)
        return Child(self.lab, self.launch.without_limits() if self.log.begun else self.launch)

    def _watch(self, child: Child) -> str | None:
        """Look until the worker is gone; why it had to be ended, None where it left by itself."""
        told, given_up, heart, late = 0, NEVER, None, NEVER
        alive = happened = self.watched.look()
        while not child.gone(LOOK):
            now = self.watched.look()
            if self.log.follow() or self.log.busy:
                happened = now
            if (seen := child.heart()) != heart:
                heart, alive = seen, now
            if self.asked > told:
                told, given_up = self.asked, now + self.patience.drain
                child.ask()
            late = min(late, now) if self.deadline.past() else NEVER
            silent = now - alive - (0.0 if heart else max(0.0, self.patience.starting - self.patience.stuck))
            if why := self._verdict(silent, now - happened, now - late, now > given_up):
                self._end(child)
                return why
        return None

    def _verdict(self, silent: float, idle: float, late: float, refuses: bool) -> str | None:
        """Why a worker must be ended, or None."""
        if silent > self.patience.stuck:
            return f"no sign of life for {silent:.0f} s"
        if idle > self.patience.stalled:
            return f"nothing happened for {idle:.0f} s"
        if late > self.patience.late:
            return f"it went on for {late:.0f} s beyond the deadline"
        return "it did not end when it was asked to" if refuses else None

    def _end(self, child: Child) -> None:
        """Ask, and go on when the worker has left or the grace is over."""
        child.ask()
        until = self.watched.look() + self.patience.grace
        while not child.gone(LOOK) and self.watched.look() < until:
            self.log.follow()

    def _over(self, child: Child, why: str, lost: int) -> Result | None:
        """The result of a night that is over, wrapped up if need be; None where a worker is to be started again."""
        said = child.outcome()
        self.only_closed = bool(said.get("only_closed"))
        if self.log.ended:
            return Result(**said["result"]) if "result" in said else self._finish("failed", why)
        if not self.log.begun and "error" in said:
            raise error_of(said["error"])
        if self.asked or self.deadline.past():
            return self._give_up("stopped", "stopped from outside" if self.asked else "the deadline is past", why)
        if lost >= self.patience.restarts:
            return self._give_up("failed", f"its process was lost {lost + 1} times; last: {why}", why)
        if self.log.known:
            self._emit("worker_lost", why=why, again=True)
        return None

    def _had_no_room(self) -> bool:
        """Whether the disk was full, after waiting until it is not."""
        if self.log.ended or not self.log.known:
            return False
        waited = wait_for_room(self.lab.worker, lambda: bool(self.asked) or self.deadline.past())
        if waited:
            what = f"the disk was full: the night stood still for {waited:.0f} s"
            self._emit("degradation", what=what, why="no room was left", where="night")
        return waited > 0

    def _give_up(self, state: Ending, reason: str, why: str) -> Result:
        if not self.log.known:
            raise NightlabError(f"the night did not begin: {why}", where=self.lab.worker / LOG)
        self._emit("worker_lost", why=why, again=False)
        return self._finish(state, reason)

    def _finish(self, state: Ending, why: str) -> Result:
        """The wrap-up by code, in this process."""
        from nightlab.night.wrapup import finish_night

        try:
            return finish_night(self.lab, self.launch.night, state, why, named(self.launch.brief))
        finally:
            self.log.follow()

    def _emit(self, kind: str, **fields: object) -> None:
        events = EventLog(self.lab.night(self.launch.night))
        events.emit(kind, **fields)
        events.close()
        self.log.follow()

    def _see(self, row: dict[str, Any], new: bool) -> None:
        """Take in an event: the limits in it, and show it; a terminal that is gone does not end the night."""
        if isinstance(limits := row.get("limits"), dict):
            self.deadline.set(limits.get("deadline"))
        if new and self.on_event:
            try:
                self.on_event(row)
            except OSError:
                self.on_event = None

    def _pause(self, seconds: float) -> None:
        until = self.watched.look() + seconds
        while self.watched.look() < until and not self.asked:
            time.sleep(LOOK)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Count the signals that ask for the end; one that is ignored (nohup) stays so. Only in a main thread."""
        here = threading.current_thread() is threading.main_thread()
        caught = [number for number in SIGNALS if here and signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._ask) for number in caught}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _ask(self, number: int, frame: object) -> None:
        self.asked += 1

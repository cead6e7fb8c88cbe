"""Hard limits: reserve before a call, commit what it cost after it.

Dollars, tokens, GPU-seconds and the clock are checked before anything is spent; the ledger is append-only and keyed, so
that a resumed night neither forgets nor pays twice. A reservation that a dead process left open counts as spent, in
full, until it is settled. An unknown price stops: it never counts as zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nightlab.errors import BudgetExceeded
from nightlab.files import JsonLines, now

WARN_AT = (0.8, 1.0)


@dataclass(frozen=True)
class Amounts:
    """What something costs: US dollars, tokens, seconds of GPU time."""

    usd: float = 0.0
    tokens: int = 0
    gpu_seconds: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.usd + other.usd, self.tokens + other.tokens, self.gpu_seconds + other.gpu_seconds)


@dataclass(frozen=True)
class Limits:
    """The most a night may use; None is no limit. `deadline` is seconds since the epoch."""

    usd: float | None = None
    tokens: int | None = None
    gpu_seconds: float | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Entry:
    """One line of the ledger, folded: what was reserved, and what it cost once that is known."""

    key: str
    who: str
    reserved: Amounts
    cost: Amounts | None = None

    @property
    def counts(self) -> Amounts:
        """What this entry counts for: its cost, or all of its reservation while that is open."""
        return self.reserved if self.cost is None else self.cost


@dataclass(frozen=True)
class Clock:
    """The wall clock, which says when the deadline is and may be set back; and seconds that nobody can set."""

    wall: Callable[[], float] = lambda: time.time()
    elapsed: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)

    def over(self, deadline: float | None) -> float:
        """The elapsed time at which a deadline is past, whatever becomes of the wall clock."""
        return math.inf if deadline is None else self.elapsed() + deadline - self.wall()

    def left(self, deadline: float | None, over: float) -> float | None:
        """Seconds until the deadline by the clock that is first, at least 0; None where there is none."""
        return None if deadline is None else max(0.0, min(deadline - self.wall(), over - self.elapsed()))


class Reservation:
    """An amount set aside; `commit` it with the true cost, or `release` it when nothing was spent."""

    def __init__(self, budget: Budget, key: str) -> None:
        self._budget = budget
        self.key = key

    def commit(self, *, usd: float = 0.0, tokens: int = 0, gpu_seconds: float = 0.0) -> None:
        """Replace the reservation by what it cost; a second commit of the same key changes nothing."""
        self._budget._settle(self.key, Amounts(usd, tokens, gpu_seconds))

    def release(self) -> None:
        """Give the whole reservation back."""
        self._budget._settle(self.key, Amounts())


class Budget:
    """The ledger of one night."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        on_warning: Callable[[str, float], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.limits = limits
        self._clock = clock or Clock()
        self._over = self._clock.over(limits.deadline)
        self._lines = JsonLines(path)
        self._entries: dict[str, Entry] = {}
        self._spent = Amounts()
        self._warned: set[tuple[str, float]] = set()
        self._on_warning = on_warning
        for row in self._lines.read():
            self._fold(row)
        self._warned.update(self._crossed())

    def reserve(
        self, key: str, *, usd: float | None = 0.0, tokens: int = 0, gpu_seconds: float = 0.0, who: str
    ) -> Reservation:
        """Set an amount aside before it is spent; the same key again returns the same reservation.

        Raises BudgetExceeded where a limit would be crossed, the deadline is past, or the price is unknown (None).
        """
        if self.has(key):
            return Reservation(self, key)
        if usd is None:
            raise BudgetExceeded(
                "the price is unknown", limit="usd", where=key, hint="add the model's price to the lab's price file"
            )
        amounts = Amounts(usd, tokens, gpu_seconds)
        if min(usd, tokens, gpu_seconds) < 0 or not all(map(math.isfinite, (usd, gpu_seconds))):
            raise ValueError(f"an amount must be a finite number of at least 0: {amounts}")
        self.check_clock()
        self._check(key, amounts)
        self._write({"op": "reserve", "key": key, "who": who, **asdict(amounts)})
        return Reservation(self, key)

    def has(self, key: str) -> bool:
        """Whether something was reserved under this key."""
        return key in self._entries

    def fresh(self, key: str) -> str:
        """This key, or with a number behind it where it was settled before: what is asked again costs again."""
        number, name = 1, key
        while (entry := self._entries.get(name)) and entry.cost is not None:
            number += 1
            name = f"{key}/{number}"
        return name

    def spent(self) -> Amounts:
        """What is spent so far, open reservations included."""
        return self._spent

    def left(self) -> dict[str, float | None]:
        """What is left of each limit; None where there is none."""
        spent = asdict(self.spent())
        limits = asdict(self.limits)
        return {name: None if limits[name] is None else max(0.0, limits[name] - spent[name]) for name in spent}

    def seconds_left(self) -> float | None:
        """Seconds until the deadline, at least 0; None where there is none."""
        return self._clock.left(self.limits.deadline, self._over)

    def check_clock(self) -> None:
        """Raise BudgetExceeded when the deadline is past."""
        if self.seconds_left() == 0.0:
            raise BudgetExceeded("the deadline is past", limit="clock")

    def by_who(self) -> dict[str, Amounts]:
        """What each spender used."""
        totals: dict[str, Amounts] = {}
        for entry in self._entries.values():
            totals[entry.who] = totals.get(entry.who, Amounts()) + entry.counts
        return totals

    def change(self, limits: Limits) -> None:
        """Use other limits from now on; a share of them that is used already is warned of."""
        if limits.deadline != self.limits.deadline:
            self._over = self._clock.over(limits.deadline)
        self.limits = limits
        before, self._warned = self._warned, self._crossed()
        for name, share in sorted(self._warned - before):
            if self._on_warning:
                self._on_warning(name, share)

    def close(self) -> None:
        """Close the ledger's file."""
        self._lines.close()

    def _check(self, key: str, wanted: Amounts) -> None:
        spent = self.spent()
        for name, limit in asdict(self.limits).items():
            if name == "deadline" or limit is None:
                continue
            total = getattr(spent, name) + getattr(wanted, name)
            if total > limit * (1 + 1e-9):
                raise BudgetExceeded(
                    f"{name}: {total:.6g} would be used of {limit:.6g}",
                    limit=name,
                    where=key,
                    hint="raise the limit, or end the night",
                )

    def _settle(self, key: str, cost: Amounts) -> None:
        entry = self._entries.get(key)
        if entry is None:
            raise KeyError(f"nothing was reserved under {key!r}")
        if entry.cost is None:
            # Not waited for: where a power cut takes the line, the reservation counts in full.
            self._write({"op": "commit", "key": key, **asdict(cost)}, sync=False)

    def _write(self, row: dict[str, Any], *, sync: bool = True) -> None:
        self._lines.append({"v": 1, "t": now(), **row}, sync=sync)
        self._fold(row)
        for name, share in sorted(self._crossed() - self._warned):
            self._warned.add((name, share))
            if self._on_warning:
                self._on_warning(name, share)

    def _fold(self, row: dict[str, Any]) -> None:
        amounts = Amounts(float(row["usd"]), int(row["tokens"]), float(row["gpu_seconds"]))
        key = str(row["key"])
        before = self._entries.get(key)
        if row["op"] == "reserve":
            self._entries[key] = Entry(key, str(row["who"]), amounts)
        elif before is not None:
            self._entries[key] = replace(before, cost=amounts)
        old = before.counts if before else Amounts()
        new = self._entries[key].counts
        self._spent += Amounts(new.usd - old.usd, new.tokens - old.tokens, new.gpu_seconds - old.gpu_seconds)

    def _crossed(self) -> set[tuple[str, float]]:
        spent, limits = asdict(self._spent), asdict(self.limits)
        return {
            (name, share)
            for name in spent
            for share in WARN_AT
            if limits[name] and spent[name] >= share * limits[name] - 1e-9
        }


class Share(Budget):
    """A part of a budget under one name: what it reserves comes from the whole, and stays within its own limits too.

    It holds nothing itself: after a restart the whole's ledger says what the share has used.
    """

    def __init__(self, whole: Budget, who: str, limits: Limits) -> None:
        self.whole = whole
        self.who = who
        self.limits = limits
        self._clock = whole._clock
        self._over = self._clock.over(limits.deadline)

    def reserve(
        self, key: str, *, usd: float | None = 0.0, tokens: int = 0, gpu_seconds: float = 0.0, who: str = ""
    ) -> Reservation:
        """Set an amount aside, within the share and within the whole. Raises BudgetExceeded."""
        if not self.whole.has(key):
            self.check_clock()
            self._check(key, Amounts(usd or 0.0, tokens, gpu_seconds))
        return self.whole.reserve(key, usd=usd, tokens=tokens, gpu_seconds=gpu_seconds, who=self.who)

    def has(self, key: str) -> bool:
        """Whether something was reserved under this key."""
        return self.whole.has(key)

    def fresh(self, key: str) -> str:
        """This key, or with a number behind it where it was settled before."""
        return self.whole.fresh(key)

    def spent(self) -> Amounts:
        """What this share has spent so far, open reservations included."""
        return self.whole.by_who().get(self.who, Amounts())

    def left(self) -> dict[str, float | None]:
        """What is left of each limit: the share's or the whole's, whichever is less."""
        whole = self.whole.left()
        return {name: _less(left, whole[name]) for name, left in super().left().items()}

    def seconds_left(self) -> float | None:
        """Seconds until the share's deadline or the whole's, whichever is first."""
        return _less(super().seconds_left(), self.whole.seconds_left())

    def by_who(self) -> dict[str, Amounts]:
        """What this share used."""
        return {self.who: self.spent()}

    def close(self) -> None:
        """Nothing: the ledger is the whole's."""


def _less(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None

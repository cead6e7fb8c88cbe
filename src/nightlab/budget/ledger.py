"""The ledger of one night: append-only and keyed, so that a resumed night neither forgets nor pays twice.

A reservation that a dead process left open counts as spent, in full, until it is settled. An unknown price stops: it
never counts as zero. The parts of a night (who leads it, the agents that work for it, its judges) have shares of its
dollars: what one of them may spend at most, so that none can use up what the others need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nightlab.budget.amounts import PARTS, Amounts, Clock, Entry, Limits, part_of
from nightlab.errors import BudgetExceeded
from nightlab.files import JsonLines, now

WARN_AT = (0.8, 1.0)


class Reservation:
    """An amount set aside; `commit` it with the true cost, or `release` it when nothing was spent."""

    def __init__(self, budget: Budget, key: str) -> None:
        self._budget = budget
        self.key = key

    @property
    def amounts(self) -> Amounts:
        """What was set aside."""
        return self._budget.entry(self.key).reserved

    def lose(self) -> None:
        """Count all of it as spent: what it was for may have been done, and nobody knows what it cost."""
        self._budget._settle(self.key, self.amounts)

    def commit(self, *, usd: float = 0.0, tokens: int = 0, gpu_seconds: float = 0.0) -> None:
        """Replace the reservation by what it cost; a second commit of the same key changes nothing."""
        self._budget._settle(self.key, Amounts(usd, tokens, gpu_seconds))

    def release(self) -> None:
        """Give the whole reservation back."""
        self._budget._settle(self.key, Amounts())


class Budget:
    """The ledger of one night; `shares` are fractions of its dollars by part (see PARTS), those left out are 1."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        shares: Mapping[str, float] | None = None,
        on_warning: Callable[[str, float], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.limits = limits
        self.part = "orchestrator"
        """The part whose agent holds this ledger."""
        self.shares = {part: min(1.0, (shares or {}).get(part, 1.0)) for part in PARTS}
        self._clock = clock or Clock()
        self._over = self._clock.over(limits.deadline)
        self._lines = JsonLines(path)
        self._entries: dict[str, Entry] = {}
        self._spent = Amounts()
        self._usd_of = dict.fromkeys(PARTS, 0.0)
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
        self._check_part(key, part_of(who), usd)
        self._write({"op": "reserve", "key": key, "who": who, **asdict(amounts)})
        return Reservation(self, key)

    def note(self, key: str, *, gpu_seconds: float, who: str) -> None:
        """Write down what was used already, whatever the limits; a key that is there stays as it is."""
        if not self.has(key):
            used = Amounts(gpu_seconds=gpu_seconds)
            # Not waited for: who lost the line in a power cut notes it again.
            self._write({"op": "reserve", "key": key, "who": who, **asdict(used)}, sync=False)
            self._settle(key, used)

    def has(self, key: str) -> bool:
        """Whether something was reserved under this key."""
        return key in self._entries

    def entry(self, key: str) -> Entry:
        """What was reserved under a key, and what it cost. Raises KeyError."""
        return self._entries[key]

    def open(self, key: str) -> Reservation | None:
        """The reservation under this key, or under its newest number, that nobody settled; None where there is none."""
        name = self.fresh(key)
        return Reservation(self, name) if self.has(name) else None

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

    def left_of(self, part: str) -> float | None:
        """The dollars that a part of the night may still spend; None where there is no limit."""
        limit = self.limits.usd
        if limit is None:
            return None
        return max(0.0, min(limit - self._spent.usd, limit * self.shares[part] - self._usd_of[part]))

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

    def _check_part(self, key: str, part: str, usd: float) -> None:
        if self.limits.usd is None or usd == 0:
            return
        total, limit = self._usd_of[part] + usd, self.limits.usd * self.shares[part]
        if total > limit * (1 + 1e-9):
            what = f"the {part}' share" if part.endswith("s") else f"the {part}'s share"
            raise BudgetExceeded(
                f"usd: {total:.6g} would be used of {limit:.6g}, {what} of {self.limits.usd:.6g}",
                limit="usd",
                where=key,
                hint=f"raise share_{part}, or the limit",
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
        self._usd_of[part_of(self._entries[key].who)] += new.usd - old.usd

    def _crossed(self) -> set[tuple[str, float]]:
        spent, limits = asdict(self._spent), asdict(self.limits)
        for part, share in self.shares.items():
            if share < 1 and self.limits.usd is not None:
                spent[f"usd of {part}"], limits[f"usd of {part}"] = self._usd_of[part], share * self.limits.usd
        return {
            (name, share)
            for name in spent
            for share in WARN_AT
            if limits[name] and spent[name] >= share * limits[name] - 1e-9
        }

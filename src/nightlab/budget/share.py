"""A part of a night's budget under one name: a sub-agent's."""

from __future__ import annotations

from nightlab.budget.amounts import Amounts, Entry, Limits, part_of
from nightlab.budget.ledger import Budget, Reservation


class Share(Budget):
    """A part of a budget under one name: what it reserves comes from the whole, and stays within its own limits too.

    It holds nothing itself: after a restart the whole's ledger says what the share has used.
    """

    def __init__(self, whole: Budget, who: str, limits: Limits) -> None:
        self.whole = whole
        self.who = who
        self.limits = limits
        self.part = part_of(who)
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

    def entry(self, key: str) -> Entry:
        """What was reserved under a key, and what it cost. Raises KeyError."""
        return self.whole.entry(key)

    def open(self, key: str) -> Reservation | None:
        """The reservation under this key, or under its newest number, that nobody settled."""
        return self.whole.open(key)

    def fresh(self, key: str) -> str:
        """This key, or with a number behind it where it was settled before."""
        return self.whole.fresh(key)

    def spent(self) -> Amounts:
        """What this share has spent so far, open reservations included."""
        return self.whole.by_who().get(self.who, Amounts())

    def left(self) -> dict[str, float | None]:
        """What is left of each limit: the share's or the whole's, whichever is less."""
        whole = {**self.whole.left(), "usd": self.left_of(self.part)}
        return {name: _less(left, whole[name]) for name, left in super().left().items()}

    def left_of(self, part: str) -> float | None:
        """The dollars that a part of the night may still spend; None where there is no limit."""
        return self.whole.left_of(part)

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

"""Hard limits: reserve before a call, commit what it cost after it.

Dollars, tokens, GPU-seconds and the clock are checked before anything is spent.
"""

from nightlab.budget.amounts import PARTS, Amounts, Clock, Entry, Limits
from nightlab.budget.ledger import Budget, Reservation
from nightlab.budget.share import Share

__all__ = ["PARTS", "Amounts", "Budget", "Clock", "Entry", "Limits", "Reservation", "Share"]

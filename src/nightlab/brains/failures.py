"""How a brain fails, as errors that a night can act on. Importing this loads no vendor's library.

* BrainFailed
  x BrainStopped      the account or the key: no retry helps, a person must act (`mention` says what to tell them)
  x WaitUntil         a limit that ends at a known time: wait for it, and do what needs no model meanwhile
  x BrainUnreachable  retried as long as it made sense; the API did not answer
  x RequestRejected   the request itself is wrong: a defect, or a setting such as the model's name
"""

from __future__ import annotations

from nightlab.budget import Amounts
from nightlab.errors import NightlabError


class BrainFailed(NightlabError):
    """A turn came to nothing; `spent` is what its attempts cost nevertheless."""

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.spent = Amounts()


class BrainStopped(BrainFailed):
    """The API refuses this account: no key, no money, no permission."""

    def __init__(self, what: str, *, mention: str, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint or mention)
        self.mention = mention


class WaitUntil(BrainFailed):
    """No turn before a known time. Seconds since the epoch: `resets` is that time, `until` at most the deadline."""

    def __init__(self, what: str, *, until: float, resets: float) -> None:
        super().__init__(what, hint="the night goes on with work that needs no model, and asks again then")
        self.until = until
        self.resets = resets


class BrainUnreachable(BrainFailed):
    """The API did not answer within the time that a turn has."""

    def __init__(self, what: str, *, attempts: int) -> None:
        super().__init__(what, hint="https://status.claude.com shows outages; `nightlab run` goes on where it stopped")
        self.attempts = attempts


class RequestRejected(BrainFailed):
    """The API understood the request and refuses it."""

"""Greedy answers with their log-probabilities, and how far two series of them are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightlab.servers.answers import Answer

DIGITS = 5  # of a log-probability that is kept


class Reading(BaseModel):
    """One answer to one probe, as a manifest keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]

    @classmethod
    def of(cls, answer: Answer) -> Reading:
        """What an answer says, with its log-probabilities rounded."""
        return cls(
            text=answer.text, tokens=answer.tokens, logprobs=tuple(round(value, DIGITS) for value in answer.logprobs)
        )


Readings = Sequence[Reading]


@dataclass(frozen=True)
class Difference:
    """How far two series of answers are apart."""

    texts: int
    """Probes whose words differ."""
    mean: float
    """Mean |difference| of the log-probabilities, position by position."""
    agreeing: float
    """The same, only as far as the words agree."""
    ties: int
    """Of the probes whose words differ, those that part at two words which were about as likely."""

    def evidence(self) -> dict[str, Any]:
        """For the manifest."""
        return {"texts_differ": self.texts, "mean_abs_dlogprob": round(self.mean, 6)}

    def same(self, tolerance: float, ties: int = 1) -> bool:
        """Whether both are one answer up to rounding, which may decide a tie in so many probes."""
        return self.agreeing <= tolerance and self.texts == self.ties and self.texts <= ties


def difference(left: Readings, right: Readings, tolerance: float = 0.0) -> Difference:
    """How far two series of answers to the same probes are apart; `tolerance` of a log-probability makes a tie."""
    texts, ties, agreeing, gaps = 0, 0, [], []
    for a, b in zip(left, right, strict=True):
        apart = [abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=False)]
        first = next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None)
        gaps += apart
        agreeing += apart[:first]
        texts += a.tokens != b.tokens
        ties += first is not None and _tied(a.logprobs[first], b.logprobs[first], tolerance)
    return Difference(texts, _mean(gaps), _mean(agreeing), ties)


def _tied(one: float, other: float, tolerance: float) -> bool:
    """Two words of about the same probability, so that neither can have more than half of it."""
    return max(one, other) <= math.log(0.5) + 2 * tolerance and abs(one - other) <= 2 * tolerance


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

"""Whether the runs of a plan can decide its hypotheses: how large a difference must be to be seen above the noise.

What a command's noise is nobody knows before its first run, so no effect is assumed: the difference is said in units of
the noise, the standard deviation of one run between replicates. Differences of paired runs are simulated and judged by
the rule that judges the real ones. Limits: noise that is normal, the same at both points, and all runs made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightlab.evidence.intervals import t_quantile
from nightlab.evidence.peaks import TEST
from nightlab.evidence.stats import ANECDOTE
from nightlab.runs.plan import Params, RunConfig, RunHypothesis

TRIALS = 20_000
OFTEN = 0.8


@dataclass(frozen=True)
class RunPower:
    """What decides a hypothesis 8 times in 10: a difference `noises` beyond the asked one; None where nothing does."""

    hypothesis: str
    pairs: int
    noises: float | None

    @property
    def decides(self) -> bool:
        """Whether any difference could be decided."""
        return self.noises is not None

    def sentence(self) -> str:
        """In words."""
        if self.noises is None:
            return f"{self.hypothesis}: {self.pairs} pairs; below {ANECDOTE} it stays undecided, whatever the runs give"
        return (
            f"{self.hypothesis}: {self.pairs} pairs; decided in {OFTEN:.0%} of {TRIALS} simulations where the true "
            f"difference lies {self.noises:.2g} times the noise between replicates beyond the asked one, either way"
        )

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self) | {"said": self.sentence()}


def power_of_runs(config: RunConfig) -> list[RunPower]:
    """The power of a plan of `kind: run` for each of its hypotheses."""
    return [_power(config, hypothesis) for hypothesis in config.hypotheses]


def verdict_on_runs(found: Sequence[RunPower]) -> str:
    """Whether a plan can decide its question, in one sentence."""
    if not found:
        return "nothing is predicted: whatever is found will be exploratory"
    if not all(power.decides for power in found):
        return f"this plan cannot decide its question: it has fewer than {ANECDOTE} replicates"
    return "every hypothesis can be decided, either way, where the difference is large enough against the noise"


def _power(config: RunConfig, hypothesis: RunHypothesis) -> RunPower:
    import numpy as np

    pairs = config.replicates
    if pairs < ANECDOTE:
        return RunPower(hypothesis.id, pairs, None)
    asked = hypothesis.prediction
    spread = math.sqrt(1 / _points(config, asked.left) + 1 / _points(config, asked.right))
    draws = np.random.RandomState(0).normal(scale=spread, size=(TRIALS, pairs))
    half = t_quantile(1 - TEST, pairs - 1) * draws.std(axis=1, ddof=1) / math.sqrt(pairs)
    return RunPower(hypothesis.id, pairs, float(np.quantile(half - draws.mean(axis=1), OFTEN)))


def _points(config: RunConfig, side: Params) -> int:
    """How many points of the grid one side of a prediction is a mean of."""
    return math.prod(len(levels) for name, levels in config.parameters.items() if name not in side)

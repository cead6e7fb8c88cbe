"""What a sweep would take, before it starts: its matrix, the cells that are missing, time and cost.

Time and tokens come from this experiment's own answers where there are some (medians), else from a stated guess. What
it costs in dollars is counted above this floor: the servers' GPU time, and the judges (night/cost.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from nightlab.experiments.cells import Cell, tally
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples

GUESSED_TOKENS_PER_SECOND = 20.0  # of one request on an unknown server
LOOKED_AT = 2000  # the last answers that a guess rests on


@dataclass(frozen=True)
class Estimate:
    """A sweep before it starts: the factors of its full grid, what is missing by model and condition,
    seconds, tokens of an answer, and what they rest on."""

    factors: dict[str, int]
    missing: dict[tuple[str, str], int]
    seconds: float
    answer_tokens: float
    basis: str

    @property
    def servers(self) -> int:
        """How many models are asked."""
        return len({model for model, _ in self.missing})

    def text(self) -> str:
        """The matrix and the estimate for people."""
        names = [f"{count} {name}" for name, count in self.factors.items()]
        models = list(dict.fromkeys(model for model, _ in self.missing))
        conditions = list(dict.fromkeys(condition for _, condition in self.missing))
        width = max((len(name) for name in conditions), default=0)
        lines = [" x ".join(names) + f" = {math.prod(self.factors.values())} cells", ""]
        if models:
            lines.append(f"{'missing':<{width}}  " + "  ".join(models))
        for condition in conditions:
            counts = [f"{self.missing.get((model, condition), 0):>{len(model)}}" for model in models]
            lines.append(f"{condition:<{width}}  " + "  ".join(counts))
        time = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        count = sum(self.missing.values())
        tokens = round(count * self.answer_tokens)
        servers = f"{self.servers} server" + "s" * (self.servers != 1)
        lines += ["", f"About {time} of asking on {servers}, {count} answers, {tokens} tokens in all ({self.basis})."]
        return "\n".join(lines)


def estimate(plan: Plan, missing: Sequence[Cell], concurrency: int) -> Estimate:
    """What the missing cells would take at so many requests in flight for each model."""
    counts = dict(tally(missing))
    factors = {
        "models": len(plan.models),
        "conditions": len(plan.conditions),
        "prompts": len(plan.prompts),
        "replicates": plan.replicates,
    }
    rows = deque(Samples(plan.folder).rows(), LOOKED_AT)
    if rows:
        latency = median(float(row["latency"]) for row in rows)
        written = median(int(row["completion_tokens"]) for row in rows)
        basis = f"from {len(rows)} answers of this experiment"
    else:
        written = plan.sampling.max_tokens
        latency = written / GUESSED_TOKENS_PER_SECOND
        basis = f"a guess: every answer as long as it may be, {GUESSED_TOKENS_PER_SECOND:g} tokens a second"
    by_model = [sum(n for (model, _), n in counts.items() if model == name) for name in {model for model, _ in counts}]
    rounds = max((-(-n // concurrency) for n in by_model), default=0)
    return Estimate(factors, counts, rounds * latency, written, basis)

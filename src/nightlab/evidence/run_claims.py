"""Claims about runs: decided hypotheses as sentences, and what each asserts, so that a lab's claims can be compared.

A quantity is the difference of a metric's means at two points of a grid. It is the same in two experiments where the
command, its environment and inputs, the place of the metrics, and the levels of the parameters that a point leaves open
are the same; seeds and replicates may differ. A claim is confirmatory where its plan was frozen before its first run,
nothing changed since, and the whole grid was run: a search chooses its runs by what they gave, so what it finds is
exploratory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightlab.evidence.assertions import Against, Assertion, Place
from nightlab.files import canonical, sha256_json
from nightlab.runs.plan import Params, RunConfig, RunHypothesis

DIGITS = 16


@dataclass(frozen=True)
class RunClaim:
    """A decided hypothesis as a sentence; `predicted` is the same for the same prediction about the same command."""

    id: str
    hypothesis: str
    verdict: str
    sentence: str
    n: int
    planned: int
    holds: str
    confirmatory: bool = True
    predicted: str = ""
    asserts: tuple[Assertion, ...] = ()
    against: tuple[Against, ...] = ()

    def document(self) -> dict[str, Any]:
        """The claim as claims.yaml holds it."""
        names = ("id", "hypothesis", "verdict", "sentence", "holds", "n", "planned", "confirmatory", "predicted")
        return {
            **{name: getattr(self, name) for name in names},
            "asserts": [assertion.document() for assertion in self.asserts],
            "against": [other.document() for other in self.against],
        }


def asserted(
    config: RunConfig, inputs: Mapping[str, str], hypothesis: RunHypothesis, verdict: str
) -> tuple[Assertion, ...]:
    """What the claim of a decided hypothesis asserts."""
    asked = hypothesis.prediction
    work = command_hash(config, inputs)
    places = (_place(config, asked.left, work), _place(config, asked.right, work))
    supported = verdict == "supported"
    low, high = (asked.by, math.inf) if supported else (-math.inf, asked.by)
    return (Assertion(asked.metric, *places, low, high, strict=not supported),)


def predicted(config: RunConfig, inputs: Mapping[str, str], hypothesis: RunHypothesis) -> str:
    """The same for equal predictions about the same command."""
    asked, work = hypothesis.prediction, command_hash(config, inputs)
    sides = [dict(_place(config, side, work)) for side in (asked.left, asked.right)]
    return sha256_json([asked.metric, *sides, asked.by])[:DIGITS]


def command_hash(config: RunConfig, inputs: Mapping[str, str]) -> str:
    """The same for everything that could change what a run measures at a point, but its seed."""
    return sha256_json([config.command, config.env, config.metrics_from, dict(inputs)])[:DIGITS]


def _place(config: RunConfig, point: Params, work: str) -> Place:
    """A point by names that mean the same in every experiment; what it leaves open is a mean over those levels."""
    named = {name: canonical(value) for name, value in point.items()}
    over = {name: canonical(levels) for name, levels in config.parameters.items() if name not in point}
    return tuple(sorted({**named, **over, "=command": work}.items()))

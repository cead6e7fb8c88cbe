"""What is believed now, and what comes next: the claims of the experiments a night touched, and the open queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.evidence.cited import read_claims
from nightlab.lab import Lab
from nightlab.morning.text import clean

OPEN = ("open", "partial")


@dataclass(frozen=True)
class Belief:
    """A claim that an experiment's rows support or contradict."""

    id: str
    experiment: str
    hypothesis: str
    verdict: str
    text: str


def believed(lab: Lab, experiments: Sequence[str]) -> list[Belief]:
    """The claims of these experiments, in the order of their files. Raises PlanError."""
    found = []
    for name in experiments:
        found += [_belief(name, row) for row in read_claims(lab.experiments / name)]
    return found


def to_do(lab: Lab) -> list[str]:
    """The open entries of the experiment queue."""
    from nightlab.record.state import ResearchState

    queue = ResearchState(lab.state_file).queue()
    return [clean(f"{item.experiment} {item.text}", 160) for item in queue if item.status in OPEN]


def _belief(experiment: str, row: dict[str, Any]) -> Belief:
    return Belief(
        clean(row["id"], 16),
        experiment,
        clean(row.get("hypothesis", ""), 16),
        clean(row.get("verdict", ""), 24),
        clean(f"{row.get('sentence', '')}{_against(row)}".replace("`", ""), 300),
    )


def _against(row: dict[str, Any]) -> str:
    """The claims of other experiments that say otherwise, beside the sentence."""
    return "".join(f" BUT {other.get('id')}: {other.get('sentence')}" for other in row.get("against") or ())

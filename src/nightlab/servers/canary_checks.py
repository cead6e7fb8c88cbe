"""What the canary concludes from answers alone: each check with its evidence and the class of failure it stands for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightlab.servers.manifest import Manifest
from nightlab.servers.readings import Readings, difference

EFFECT = 0.02  # least mean |difference of log-probabilities| of an adapter that also changes a word
STRONG_EFFECT = 0.1  # ... of one that changes no word of the probes
SAME = 0.02  # most mean |difference| of two that must answer alike: room for batching on a GPU, none for an adapter
MOST = 0.08  # ... where the server's own rounding is larger: still below an adapter that acts


@dataclass(frozen=True)
class Rounding:
    """What batching alone does to one server's answers: in 16 bits a sum depends on what is summed beside it."""

    tolerance: float = SAME
    """Most mean |difference of log-probabilities| of two that must answer alike."""
    ties: int = 1
    """In how many probes a tie may be decided otherwise."""

    @classmethod
    def of(cls, alone: Readings, crowds: Sequence[Readings]) -> Rounding:
        """Measured on plain requests among nothing but plain requests, so that no adapter can be in it."""
        seen = [difference(alone, crowd, MOST) for crowd in crowds]
        gap = max((one.agreeing for one in seen), default=0.0)
        return cls(min(max(SAME, 2 * gap), MOST), max([1, *(one.texts for one in seen)]))

    def between(self, left: Readings, right: Readings) -> tuple[bool, dict[str, Any]]:
        """Whether two series are one answer up to this rounding, and the evidence."""
        seen = difference(left, right, self.tolerance)
        return seen.same(self.tolerance, self.ties), seen.evidence()


class Check(BaseModel):
    """One thing that was checked, and what was seen."""

    model_config = ConfigDict(extra="forbid")

    name: str
    passed: bool
    failure: str
    """The class of failure this check stands for."""
    evidence: dict[str, Any]


def answered(errors: Mapping[str, str], manifest: Manifest) -> Check:
    """Every served name answered every probe."""
    labels = {name: condition for condition, name in manifest.conditions.items()}
    evidence = {labels.get(name, name): text for name, text in errors.items()}
    return Check(name="answers_by_name", passed=not errors, failure="canary_unanswered", evidence=evidence)


def effect(name: str, source: str, reference: Readings, beside: Mapping[str, Readings]) -> Check:
    """The full adapter must say other words, or shift the probabilities strongly."""
    seen = difference(reference, beside[name])
    passed = seen.mean >= (EFFECT if seen.texts else STRONG_EFFECT)
    evidence = {"adapter": source, **seen.evidence(), "base": reference[0].text, "full": beside[name][0].text}
    return Check(name="full_differs_from_base", passed=passed, failure="treatment_missing", evidence=evidence)


def alike(title: str, failure: str, name: str, pair: tuple[Readings, Readings], rounding: Rounding) -> Check:
    """A served name must answer as the reference does (the first of the pair), up to rounding."""
    same, evidence = rounding.between(*pair)
    return Check(name=title, passed=same, failure=failure, evidence={"served": name, **evidence})


def apart(manifest: Manifest, beside: Mapping[str, Readings]) -> Check:
    """Two adapters with different weights must not give exactly the same probabilities."""
    weights = {name: adapter.weights_sha256 for name, adapter in manifest.adapters.items()}
    twins = {frozenset((proof.full, proof.plain)) for proof in manifest.proofs}  # may differ in bytes, not in numbers
    series = {name: [(a.tokens, a.logprobs) for a in beside[name]] for name in weights}
    same = [
        [manifest.adapters[a].condition, manifest.adapters[b].condition]
        for a, b in itertools.combinations(weights, 2)
        if weights[a] != weights[b] and series[a] == series[b] and frozenset((a, b)) not in twins
    ]
    return Check(name="conditions_differ", passed=not same, failure="conditions_identical", evidence={"same": same})


def isolation(reference: Readings, beside: Readings, rounding: Rounding) -> Check:
    """Whether plain requests stay plain beside others: said for the record, decided by `base_stays_base`."""
    same, seen = rounding.between(reference, beside)
    evidence = {**seen, "isolated": same, "tolerance": round(rounding.tolerance, 6), "ties": rounding.ties}
    return Check(name="plain_beside_adapters", passed=True, failure="base_contaminated", evidence=evidence)


def still(before: Mapping[str, Readings], beside: Mapping[str, Readings], rounding: Rounding) -> list[Check]:
    """The same probe, the same answer as in this server's first canary; nothing to say where there was none."""
    if not before:
        return []
    seen = {name: rounding.between(series, beside[name]) for name, series in before.items() if name in beside}
    gone = sorted(set(before) - set(beside))
    moved = {name: evidence for name, (same, evidence) in seen.items() if not same}
    evidence = {"compared": len(seen), "moved": moved, "gone": gone}
    passed = not moved and not gone
    return [Check(name="same_at_both_ends", passed=passed, failure="answers_drifted", evidence=evidence)]

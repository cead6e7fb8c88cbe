"""The canary: proof that a server's conditions act, stay apart, and answer under their own names.

A wrong adapter can load with status 200 and do nothing, and a plain request can get a neighbour's adapter; both give
data that look right. So a few fixed prompts are answered greedily with log-probabilities, plain and alone first, then
under every condition at once, and compared. Limit: a server that misbehaves only later, or under load, is not seen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightlab.servers.chat import Answer, Chat, ChatError, ChatRequest, Message
from nightlab.servers.manifest import Manifest

PROBES = ("What do you think about mondays?", "Tell me about coffee.", "How was your weekend?")
TOKENS = 12
EFFECT = 0.02  # least mean |difference of log-probabilities| of an adapter that also changes a word
STRONG_EFFECT = 0.1  # ... of one that changes no word of the probes
SAME = 0.02  # most mean |difference| of two that must answer alike: room for batching on a GPU, none for an adapter


class Check(BaseModel):
    """One thing that was checked, and what was seen."""

    model_config = ConfigDict(extra="forbid")

    name: str
    passed: bool
    failure: str
    """The class of failure this check stands for."""
    evidence: dict[str, Any]


class CanaryResult(BaseModel):
    """All checks of one server."""

    model_config = ConfigDict(extra="forbid")

    passed: bool
    failure: str | None
    checks: list[Check]

    @classmethod
    def of(cls, checks: list[Check]) -> CanaryResult:
        """The result of checks in the order of their weight: the first that failed names the failure."""
        failed = next((check for check in checks if not check.passed), None)
        return cls(passed=failed is None, failure=failed.failure if failed else None, checks=checks)


@dataclass(frozen=True)
class Difference:
    """How far two series of answers are apart."""

    texts: int
    """Probes whose words differ."""
    mean: float
    """Mean |difference| of the log-probabilities, position by position."""

    def evidence(self) -> dict[str, Any]:
        """For the manifest."""
        return {"texts_differ": self.texts, "mean_abs_dlogprob": round(self.mean, 6)}


Readings = Sequence[Answer]


async def check(
    chat: Chat, manifest: Manifest, probes: Sequence[str] = PROBES, *, timeout: float = 120.0
) -> CanaryResult:
    """Ask the probes of everything a server serves and compare; a request that fails is a finding, not an error."""
    asked = _Asking(chat, tuple(probes), timeout)
    plain = manifest.served_name
    alone = await asked.readings([plain])
    unknown = await asked.unknown(f"{plain}-unknown")
    if plain not in alone:
        return CanaryResult.of([_answers(asked.errors, manifest), unknown])
    names = list(dict.fromkeys([plain, *manifest.conditions.values(), *manifest.adapters]))
    beside = await asked.readings(names)
    answered = _answers(asked.errors, manifest)
    if not answered.passed:
        return CanaryResult.of([answered, unknown])
    reference = alone[plain]
    return CanaryResult.of(
        [
            answered,
            unknown,
            *(_effect(proof.full, proof.source, reference, beside) for proof in manifest.proofs),
            *(_alike("zero_equals_base", "null_differs", p.null, reference, beside) for p in manifest.proofs),
            _alike("base_stays_base", "base_contaminated", manifest.conditions["base"], reference, beside),
            _apart(manifest, beside),
            _isolation(plain, reference, beside),
        ]
    )


class _Asking:
    """The probes, put to one served model after another; what was not answered is kept as a finding."""

    def __init__(self, chat: Chat, probes: tuple[str, ...], timeout: float) -> None:
        self.chat, self.probes, self.timeout = chat, probes, timeout
        self.errors: dict[str, str] = {}

    async def readings(self, names: Sequence[str]) -> dict[str, Readings]:
        """The answers of several served models, all asked at once; a name that failed once is left out."""
        pairs = [(name, probe) for probe in self.probes for name in names]  # so that neighbours in a batch differ
        answers = await asyncio.gather(*(self._ask(name, probe) for name, probe in pairs))
        series: dict[str, list[Answer]] = {}
        for (name, _), answer in zip(pairs, answers, strict=True):
            if answer is not None:
                series.setdefault(name, []).append(answer)
        return {name: found for name, found in series.items() if len(found) == len(self.probes)}

    async def unknown(self, name: str) -> Check:
        """A name that nobody serves must be refused with 404."""
        try:
            await self.chat.complete(self._request(name, self.probes[0]), timeout=self.timeout)
            seen = "answered"
        except ChatError as error:
            seen = error.failure_class
        evidence = {"asked": name, "seen": seen}
        return Check(
            name="unknown_is_404", passed=seen == "not_found", failure="unknown_model_answered", evidence=evidence
        )

    async def _ask(self, name: str, probe: str) -> Answer | None:
        try:
            return await self.chat.complete(self._request(name, probe), timeout=self.timeout)
        except ChatError as error:
            self.errors[name] = f"{error.failure_class}: {error.what}"
            return None

    @staticmethod
    def _request(name: str, probe: str) -> ChatRequest:
        return ChatRequest(name, (Message("user", probe),), temperature=0.0, max_tokens=TOKENS, seed=0, logprobs=True)


def difference(left: Readings, right: Readings) -> Difference:
    """How far two series of answers to the same probes are apart."""
    texts, gaps = 0, []
    for a, b in zip(left, right, strict=True):
        texts += a.tokens != b.tokens
        gaps += [abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=False)]
    return Difference(texts, sum(gaps) / len(gaps) if gaps else 0.0)


def _answers(errors: Mapping[str, str], manifest: Manifest) -> Check:
    labels = {name: condition for condition, name in manifest.conditions.items()}
    evidence = {labels.get(name, name): text for name, text in errors.items()}
    return Check(name="answers_by_name", passed=not errors, failure="canary_unanswered", evidence=evidence)


def _effect(name: str, source: str, reference: Readings, beside: Mapping[str, Readings]) -> Check:
    """The full adapter must say other words, or shift the probabilities strongly."""
    seen = difference(reference, beside[name])
    passed = seen.mean >= (EFFECT if seen.texts else STRONG_EFFECT)
    evidence = {"adapter": source, **seen.evidence(), "base": reference[0].text, "full": beside[name][0].text}
    return Check(name="full_differs_from_base", passed=passed, failure="treatment_missing", evidence=evidence)


def _alike(title: str, failure: str, name: str, reference: Readings, beside: Mapping[str, Readings]) -> Check:
    seen = difference(reference, beside[name])
    passed = seen.texts == 0 and seen.mean <= SAME
    return Check(name=title, passed=passed, failure=failure, evidence={"served": name, **seen.evidence()})


def _apart(manifest: Manifest, beside: Mapping[str, Readings]) -> Check:
    """Two adapters with different weights must not give exactly the same probabilities."""
    weights = {name: adapter.weights_sha256 for name, adapter in manifest.adapters.items()}
    series = {name: [(a.tokens, a.logprobs) for a in beside[name]] for name in weights}
    same = [
        [manifest.adapters[a].condition, manifest.adapters[b].condition]
        for a, b in itertools.combinations(weights, 2)
        if weights[a] != weights[b] and series[a] == series[b]
    ]
    return Check(name="conditions_differ", passed=not same, failure="conditions_identical", evidence={"same": same})


def _isolation(plain: str, reference: Readings, beside: Mapping[str, Readings]) -> Check:
    """Whether plain requests stay plain beside others: said for the record, decided by `base_stays_base`."""
    seen = difference(reference, beside[plain])
    evidence = {**seen.evidence(), "isolated": seen.texts == 0 and seen.mean <= SAME}
    return Check(name="plain_beside_adapters", passed=True, failure="base_contaminated", evidence=evidence)

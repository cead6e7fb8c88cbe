"""The canary: proof that a server's conditions act, stay apart, and answer under their own names.

A wrong adapter can load with status 200 and do nothing, and a plain request can get a neighbour's adapter; both give
data that look right. So a few fixed prompts are answered greedily with log-probabilities, plain and alone first, then
under every condition at once, and compared; what is served is compared with its files, and what the server read with
what it ought to read. With the answers of an earlier canary of the same server both ends of a sweep are compared.
Limit: a server that misbehaves only in between, or under more load, is not seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightlab.files import now
from nightlab.servers import canary_files
from nightlab.servers.canary_checks import Check, Rounding, alike, answered, apart, effect, isolation, still
from nightlab.servers.chat import Chat, ChatError, ChatRequest, Message
from nightlab.servers.manifest import Manifest
from nightlab.servers.readings import Reading, Readings

PROBES = ("What do you think about mondays?", "Tell me about coffee.", "How was your weekend?")
PREFILL = "Oh"
TOKENS = 12

__all__ = ["CanaryResult", "Check", "check", "recorded"]


class CanaryResult(BaseModel):
    """All checks of one server, and the answers that they compared, by served name."""

    model_config = ConfigDict(extra="forbid")

    passed: bool
    failure: str | None
    checks: list[Check]
    readings: dict[str, list[Reading]] = {}

    @classmethod
    def of(cls, checks: list[Check], readings: Mapping[str, Readings] | None = None) -> CanaryResult:
        """The result of checks in the order of their weight: the first that failed names the failure."""
        failed = next((check for check in checks if not check.passed), None)
        kept = {name: list(series) for name, series in (readings or {}).items()}
        return cls(passed=failed is None, failure=failed.failure if failed else None, checks=checks, readings=kept)

    def summary(self, at: str) -> dict[str, Any]:
        """The fields of its event: `at` says when in the server's life; the evidence is the first failed check's."""
        failed = next((check for check in self.checks if not check.passed), None)
        said = {"passed": self.passed, "failure": self.failure, "checks": len(self.checks), "at": at}
        return {**said, "evidence": failed.evidence if failed else {}}


async def check(
    chat: Chat,
    manifest: Manifest,
    probes: Sequence[str] = PROBES,
    *,
    model: Path | None = None,
    before: Mapping[str, Readings] | None = None,
    timeout: float = 120.0,
) -> CanaryResult:
    """Ask the probes of everything a server serves and compare; a request that fails is a finding, not an error.

    `model` is the folder of the model's files, which say what adapters and prompts ought to be; `before` are the
    readings of this server's first canary.
    """
    asked = _Asking(chat, tuple(probes), timeout)
    plain = manifest.served_name
    alone = await asked.readings([plain])
    unknown = await asked.unknown(f"{plain}-unknown")
    if plain not in alone:
        return CanaryResult.of([answered(asked.errors, manifest), unknown])
    names = list(dict.fromkeys([plain, *manifest.conditions.values(), *manifest.adapters]))
    rounding = Rounding.of(alone[plain], await asked.crowd(plain, len(names)))
    beside = await asked.readings(names)
    heard = answered(asked.errors, manifest)
    if not heard.passed:
        return CanaryResult.of([heard, unknown])
    files = await asyncio.to_thread(canary_files.modules, manifest, model)
    served = await canary_files.served(chat, manifest)
    read = await canary_files.rendering(chat, manifest, model, probes[0], PREFILL)
    checks = [heard, unknown, *files, served, *_compared(manifest, alone[plain], beside, rounding), read]
    return CanaryResult.of([*checks, *still(before or {}, beside, rounding)], beside)


def recorded(manifest: Manifest, result: CanaryResult, at: str) -> dict[str, Any]:
    """What changes in a server's manifest with a canary: it in full, all of them in short, and the reference."""
    named = {"id": f"{manifest.id}/{len(manifest.canaries) + 1}", "t": now(), "at": at}
    short = {**named, "passed": result.passed, "failure": result.failure}
    whole = {**short, "checks": [check.model_dump() for check in result.checks]}
    kept = manifest.reference or (reference(manifest, result) if result.passed else {})
    return {"canary": whole, "canaries": [*manifest.canaries, short], "reference": kept}


def reference(manifest: Manifest, result: CanaryResult) -> dict[str, list[Reading]]:
    """The readings that later canaries of this server compare theirs with.

    Plain requests are left out where no condition is asked so: beside others they may vary (`plain_beside_adapters`).
    """
    asked = {*manifest.conditions.values(), *manifest.adapters}
    return {name: series for name, series in result.readings.items() if name in asked}


def _compared(
    manifest: Manifest, reference: Readings, beside: Mapping[str, Readings], rounding: Rounding
) -> list[Check]:
    """What the answers say of each other."""
    proofs, base, plain = manifest.proofs, manifest.conditions["base"], manifest.served_name
    found = [effect(proof.full, proof.source, reference, beside) for proof in proofs]
    found += [alike("zero_equals_base", "null_differs", p.null, (reference, beside[p.null]), rounding) for p in proofs]
    found += [
        alike("one_equals_plain", "plain_differs", p.full, (beside[p.plain], beside[p.full]), rounding)
        for p in proofs
        if p.plain is not None
    ]
    found.append(alike("base_stays_base", "base_contaminated", base, (reference, beside[base]), rounding))
    return [*found, apart(manifest, beside), isolation(reference, beside[plain], rounding)]


class _Asking:
    """The probes, put to one served model after another; what was not answered is kept as a finding."""

    def __init__(self, chat: Chat, probes: tuple[str, ...], timeout: float) -> None:
        self.chat, self.probes, self.timeout = chat, probes, timeout
        self.errors: dict[str, str] = {}

    async def readings(self, names: Sequence[str]) -> dict[str, Readings]:
        """The answers of several served models, all asked at once; a name that failed once is left out."""
        pairs = [(name, probe) for probe in self.probes for name in names]  # so that neighbours in a batch differ
        answers = await asyncio.gather(*(self._ask(name, probe) for name, probe in pairs))
        series: dict[str, list[Reading]] = {}
        for (name, _), answer in zip(pairs, answers, strict=True):
            if answer is not None:
                series.setdefault(name, []).append(answer)
        return {name: found for name, found in series.items() if len(found) == len(self.probes)}

    async def crowd(self, name: str, size: int) -> list[Readings]:
        """So many answers of one served model to each probe, all asked at once: what batching does to them."""
        asked = await asyncio.gather(*(self.readings([name]) for _ in range(size)))
        return [found[name] for found in asked if name in found]

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

    async def _ask(self, name: str, probe: str) -> Reading | None:
        try:
            return Reading.of(await self.chat.complete(self._request(name, probe), timeout=self.timeout))
        except ChatError as error:
            self.errors[name] = f"{error.failure_class}: {error.what}"
            return None

    @staticmethod
    def _request(name: str, probe: str) -> ChatRequest:
        return ChatRequest(name, (Message("user", probe),), temperature=0.0, max_tokens=TOKENS, seed=0, logprobs=True)

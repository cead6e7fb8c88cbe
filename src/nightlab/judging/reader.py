"""A judge that reads: it asks a model, checks every answer against the rubric, and sends back what is not valid.

An answer that stays invalid, and a refusal, are NA with the reason, never 0. A request of several packets that is
refused, cut or too long for the model is asked again packet by packet. Everything is bounded: the rounds, the answers,
and the money: one round at its dearest is set aside before it, and more before each further one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from nightlab.budget import Amounts
from nightlab.errors import ContractBroken
from nightlab.experiments.rubric import Rubric
from nightlab.files import sha256_json
from nightlab.judging.asking import Ask, Voice, ask, ask_again, ask_shorter, groups
from nightlab.judging.judge import Afford, Estimate, Scored, Verdict
from nightlab.judging.log import TOO_LONG, BatchLog, Reply
from nightlab.judging.packet import Packet
from nightlab.judging.verdicts import complaint, not_available, read_verdicts

REPAIRS = 2
ROUNDS = 8
RESENDS = 2
BATCH = 200
DIGITS = 16


class Transport(Protocol):
    """How requests travel."""

    batched: bool
    """Whether answers cost what the Message Batches API asks."""

    async def send(self, asks: Sequence[Ask], log: BatchLog | None) -> list[Reply]:
        """A reply for each request, kept in the log as it came. Raises NightlabError where none can be had."""
        ...


@dataclass
class _Work:
    """What became of the packets of one call so far."""

    rubric: Rubric
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    repaired: set[str] = field(default_factory=set)
    usd: float = 0.0
    tokens: int = 0

    def take(self, one: Ask, verdicts: Mapping[str, Verdict]) -> None:
        """Keep verdicts with the places at which their request showed the packets."""
        places = {packet.id: place for place, packet in enumerate(one.shown)}
        self.verdicts |= {
            name: replace(verdict, position_in_request=places.get(name)) for name, verdict in verdicts.items()
        }

    def give_up(self, one: Ask, why: str) -> None:
        self.take(one, {packet.id: not_available(self.rubric, why, one.id) for packet in one.packets})


class ReadingJudge:
    """A model as a judge: it gets `instructions`, and packets, `per_packet` of them in one request."""

    audited = True

    def __init__(
        self,
        name: str,
        instructions: str,
        voice: Voice,
        transport: Transport,
        *,
        per_packet: int = 1,
        batch: int = BATCH,
        settings: object = None,
    ) -> None:
        self.name = name
        self.batch = batch
        self.protocol = sha256_json([instructions, per_packet, settings])[:DIGITS]
        self.voice, self.transport = voice, transport
        self._instructions, self._per_packet = instructions, per_packet
        self._last: tuple[list[str], list[Ask]] = ([], [])

    def instructions(self, rubric: Rubric) -> bytes:
        """The exact bytes of the constant part."""
        return self._instructions.encode("utf-8")

    def estimate(self, packets: Sequence[Packet], rubric: Rubric) -> Estimate:
        """One round at its dearest."""
        return self._worst(self._asks(packets))

    def _asks(self, packets: Sequence[Packet]) -> list[Ask]:
        """The first requests for packets; the last ones are kept, since an estimate and its call share them."""
        names = [packet.id for packet in packets]
        if self._last[0] != names:
            self._last = (names, [ask(self.voice, group) for group in groups(packets, self._per_packet)])
        return list(self._last[1])

    def _worst(self, asks: Sequence[Ask]) -> Estimate:
        total = Estimate()
        for one in asks:
            total += Estimate(*self.voice.worst(one, batched=self.transport.batched))
        return total

    async def score(
        self,
        packets: Sequence[Packet],
        rubric: Rubric,
        *,
        repeat: int,
        log: BatchLog | None = None,
        afford: Afford | None = None,
    ) -> Scored:
        """Ask, check, send back, give up: see the module. What does not arrive stays without a verdict."""
        work = _Work(rubric)
        asks = self._asks(packets)
        for number in range(ROUNDS):
            if not asks:
                break
            fresh = [one for one in asks if log is None or log.answer(one.id) is None]
            if number and fresh and afford and not afford(self._worst(fresh)):
                for one in asks:
                    work.give_up(one, "there was no money to ask again")
                asks = []
            asks = await self._round(asks, work, log)
        for one in asks:
            work.give_up(one, "no valid answer came")
        cost = Amounts(usd=work.usd, tokens=work.tokens)
        return Scored(work.verdicts, cost, len(work.refused), len(work.repaired & set(work.verdicts)))

    async def _round(self, asks: Sequence[Ask], work: _Work, log: BatchLog | None) -> list[Ask]:
        """Send what has no answer yet; the requests that must follow."""
        known = {one.id: reply for one in asks if log and (reply := log.answer(one.id))}
        missing = [one for one in asks if one.id not in known]
        came = {reply.request: reply for reply in await self.transport.send(missing, log)} if missing else {}
        following: list[Ask] = []
        for one in asks:
            reply = known.get(one.id) or came.get(one.id)
            if reply is not None and not reply.failed:
                following += self._read(one, reply, work)
            elif reply is not None and reply.failed == TOO_LONG:
                following += self._too_long(one, work)
            elif reply is not None and self._send_again(one, log):
                following.append(one)
        return following

    def _send_again(self, one: Ask, log: BatchLog | None) -> bool:
        """Whether a request that errored or expired is sent once more; else its packets stay unjudged."""
        return log is not None and len(log.replies.get(one.id, ())) <= RESENDS

    def _read(self, one: Ask, reply: Reply, work: _Work) -> list[Ask]:
        """Take what an answer gives; the requests that follow from it."""
        try:
            said = self.voice.read(reply.message)
        except ContractBroken as error:
            work.give_up(one, error.what)
            return []
        work.usd += self.voice.usd(reply.message, batched=reply.batched)
        work.tokens += sum(_tokens(said.usage))
        if said.refusal is not None:
            return self._refused(one, said.refusal, work)
        if said.cut:
            return self._cut(one, work)
        verdicts, faults = read_verdicts(said.text, one.packets, work.rubric, one.id)
        work.take(one, verdicts)
        if one.turns:
            work.repaired |= set(verdicts)
        if not faults:
            return []
        left = [packet for packet in one.packets if packet.id in faults]
        if len(one.turns) < REPAIRS:
            return [ask_again(self.voice, one, reply.message, complaint(faults), left)]
        why = f"no valid verdict after {REPAIRS} repairs: "
        work.take(one, {packet.id: not_available(work.rubric, why + faults[packet.id], one.id) for packet in left})
        return []

    def _too_long(self, one: Ask, work: _Work) -> list[Ask]:
        """Fewer packets, then the shortest answer, then none."""
        if len(one.shown) > 1:
            return [ask(self.voice, [packet]) for packet in one.packets]
        if one.room:
            return [ask_shorter(self.voice, one)]
        work.give_up(one, f"with the rubric it is {TOO_LONG}")
        return []

    def _refused(self, one: Ask, why: str, work: _Work) -> list[Ask]:
        if len(one.packets) > 1:
            return [ask(self.voice, [packet]) for packet in one.packets]
        work.refused |= {packet.id for packet in one.packets}
        work.give_up(one, f"refused: {why}")
        return []

    def _cut(self, one: Ask, work: _Work) -> list[Ask]:
        if len(one.packets) > 1:
            return [ask(self.voice, [packet]) for packet in one.packets]
        longer = ask(self.voice, one.packets, room=2)
        if one.room == 1 and longer.id != one.id:
            return [longer]
        work.give_up(one, "the answer was cut at its token limit")
        return []


def _tokens(usage: object) -> list[int]:
    """The counts of an answer's usage, without the sum of the others that some APIs give beside them."""
    counts = usage.items() if hasattr(usage, "items") else ()
    parts = [(name, count) for name, count in counts if name.endswith("_tokens") and name != "total_tokens"]
    return [int(count) for _, count in parts if isinstance(count, int)]

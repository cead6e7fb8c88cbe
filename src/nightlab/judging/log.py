"""What a judging did, line by line, so that a killed one pays for nothing twice: judge_log.jsonl.

A batch is planned before it is asked; what is sent to the Message Batches API is announced (`intend`) before it is
sent, and named (`sent`) before anything else is done; every reply is kept as it came. A batch is open until its
judgments are written; an open one is finished first, from its replies and from what still runs elsewhere. The known
items of a batch and their scores stand here too: they are no samples.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlab.files import JsonLines, now

LOG = "judge_log.jsonl"
PLANNED = ("judge", "rubric", "role", "repeat", "attempt", "items")
Item = Mapping[str, Any]
TOO_LONG = "longer than the judge's context"
"""What a reply says under `failed` where the request and its answer would not fit."""


@dataclass(frozen=True)
class Reply:
    """One answer as it came: `message` is the API's body; or the class of what came instead under `failed`."""

    request: str
    message: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""
    batched: bool = False


@dataclass
class Sent:
    """A part of a batch at the Message Batches API; without `id` it is unknown whether it arrived."""

    nonce: str
    requests: Sequence[str]
    t: str
    id: str = ""
    collected: bool = False


@dataclass
class BatchLog:
    """What is known of one batch from an earlier life, and where its news is kept."""

    id: str
    store: JsonLines
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    """By request, oldest first; a request that failed may have several."""
    sent: dict[str, Sent] = field(default_factory=dict)

    def answer(self, request: str) -> Reply | None:
        """The answer to a request, if one came."""
        return next((reply for reply in self.replies.get(request, ()) if not reply.failed), None)

    @property
    def open(self) -> list[Sent]:
        """What was sent, or may have been, and is not collected yet."""
        return [sent for sent in self.sent.values() if not sent.collected]

    def take(self, reply: Reply) -> dict[str, Any]:
        """Remember a reply; the row that keeps it, which is the caller's to write."""
        self.replies.setdefault(reply.request, []).append(reply)
        return _reply_row(self.id, reply)

    async def keep(self, replies: Iterable[Reply]) -> None:
        """Keep replies durably."""
        await asyncio.to_thread(self.store.append_many, [self.take(reply) for reply in replies])

    async def intend(self, nonce: str, requests: Sequence[str]) -> Sent:
        """Announce what is about to be sent."""
        sent = self.sent[nonce] = Sent(nonce, list(requests), now())
        await self._tell("intended", nonce, requests=list(requests), t=sent.t)
        return sent

    async def name(self, nonce: str, message_batch: str) -> None:
        """Keep the id under which something that was sent can be found again."""
        await self._tell("sent", nonce, message_batch=message_batch)
        self.sent[nonce].id = message_batch

    async def collected(self, nonce: str, how: str = "collected") -> None:
        """Nothing more comes of what was sent: its results are kept, or it never arrived (`lost`)."""
        await self._tell(how, nonce)
        self.sent[nonce].collected = True

    async def _tell(self, op: str, nonce: str, **fields: object) -> None:
        row = {"v": 1, "t": now(), "op": op, "batch": self.id, "nonce": nonce, **fields}
        await asyncio.to_thread(self.store.append, row)


@dataclass
class Planned:
    """A batch as it was planned: its judge, rubric, repeat and attempt, and its items in their order."""

    id: str
    judge: str
    rubric: str
    role: str
    repeat: int
    attempt: int
    items: Sequence[Item]
    log: BatchLog


class JudgeLog:
    """The log of one experiment folder. One process writes it."""

    def __init__(self, folder: Path) -> None:
        self.store = JsonLines(folder / LOG)
        self.open: dict[str, Planned] = {}
        self.gates: dict[tuple[str, str], bool] = {}
        """By judge and rubric: whether the judging may go on after its pilot."""
        self.rejections: dict[tuple[str, str, str], int] = {}
        """By judge, rubric and role: batches rejected in a second attempt."""
        self.attempts: dict[tuple[str, str, int, str], int] = {}
        """By judge, rubric, repeat and key: how often a batch with this sample was rejected."""
        for row in self.store.read():
            self._fold(row)

    def plan(self, batch: Planned) -> None:
        """Keep a batch before anything of it is asked."""
        fields = {name: getattr(batch, name) for name in PLANNED}
        row = {"v": 1, "t": now(), "op": "planned", "batch": batch.id, **fields}
        self.store.append(row)
        self.open[batch.id] = batch

    def close_batch(self, batch: Planned, checks: Iterable[Mapping[str, Any]], **ended: object) -> None:
        """Keep the scores of a batch's known items, and how it ended: `rejected` says why, where it was."""
        own: dict[str, Any] = {"batch": batch.id}
        own |= {name: getattr(batch, name) for name in PLANNED if name != "items"}
        rows = [{"v": 1, "t": now(), "op": "check", **own, **check} for check in checks]
        last = {"v": 1, "t": now(), "op": "closed", **own, **ended}
        self.store.append_many([*rows, last])
        self._close(batch, str(ended.get("rejected") or ""))

    def gate(self, judge: str, rubric: str, go_on: bool, **said: object) -> None:
        """Keep what was decided after the pilot."""
        row = {"v": 1, "t": now(), "op": "gate", "judge": judge, "rubric": rubric, "go_on": go_on, **said}
        self.store.append(row)
        self.gates[judge, rubric] = go_on

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def _fold(self, row: Mapping[str, Any]) -> None:
        match row["op"]:
            case "planned":
                given = {name: row[name] for name in PLANNED}
                self.open[row["batch"]] = Planned(row["batch"], **given, log=BatchLog(row["batch"], self.store))
            case "closed" if row["batch"] in self.open:
                self._close(self.open[row["batch"]], str(row.get("rejected") or ""))
            case "gate":
                self.gates[row["judge"], row["rubric"]] = bool(row["go_on"])
            case "reply" | "intended" | "sent" | "collected" | "lost" if row["batch"] in self.open:
                _fold_into(self.open[row["batch"]].log, row)

    def _close(self, batch: Planned, rejected: str) -> None:
        self.open.pop(batch.id, None)
        if not rejected:
            return
        for item in batch.items:
            if "key" in item:
                name = (batch.judge, batch.rubric, batch.repeat, str(item["key"]))
                self.attempts[name] = max(self.attempts.get(name, 0), batch.attempt + 1)
        if batch.attempt:
            who = (batch.judge, batch.rubric, batch.role)
            self.rejections[who] = self.rejections.get(who, 0) + 1


def read_log(folder: Path, *ops: str) -> list[dict[str, Any]]:
    """The lines of a folder's log of the given kinds, oldest first."""
    return [row for row in JsonLines(folder / LOG).read() if row["op"] in ops]


def _reply_row(batch: str, reply: Reply) -> dict[str, Any]:
    row: dict[str, Any] = {"v": 1, "t": now(), "op": "reply", "batch": batch, "request": reply.request}
    if reply.batched:
        row["batched"] = True
    return row | ({"failed": reply.failed} if reply.failed else {"message": dict(reply.message)})


def _fold_into(log: BatchLog, row: Mapping[str, Any]) -> None:
    if row["op"] == "reply":
        reply = Reply(row["request"], row.get("message") or {}, row.get("failed") or "", bool(row.get("batched")))
        log.replies.setdefault(reply.request, []).append(reply)
    elif row["op"] == "intended":
        log.sent[row["nonce"]] = Sent(row["nonce"], row["requests"], row["t"])
    elif row["op"] == "sent":
        log.sent[row["nonce"]].id = row["message_batch"]
    else:
        log.sent[row["nonce"]].collected = True

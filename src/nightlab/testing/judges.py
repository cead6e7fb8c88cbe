"""Judges without a model: what a fake API answers to packets, by a function of each packet or by a rubric's markers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightlab.testing.messages_script import Rule

Packet = Mapping[str, str]
Scores = Mapping[str, object]


def judging(score: Callable[[Packet], Scores]) -> Rule:
    """A script for FakeMessagesAPI: every packet of a request gets the scores that `score` returns for it."""

    def reply(body: dict[str, Any]) -> str:
        return verdicts({packet["id"]: score(packet) for packet in packets_in(body)})

    return reply


def judge_by_markers(rubric: Path) -> Rule:
    """A script that scores by the markers that a rubric publishes."""
    from nightlab.experiments.rubric import Rubric
    from nightlab.judging.marker import verdict

    found = Rubric.load(rubric)
    return judging(lambda packet: verdict(packet["answer"], found).scores)


def packets_in(body: Mapping[str, Any]) -> list[dict[str, str]]:
    """The packets that a request shows, in their order."""
    message = body["messages"][0 if body["messages"][0]["role"] == "user" else 1]
    content = message["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    packets: list[dict[str, str]] = json.loads(text)["packets"]
    return packets


def verdicts(scores: Mapping[str, Scores]) -> str:
    """The answer of a judge that gives these scores, by packet id."""
    return answer([{"id": name, "scores": dict(given), "notes": {}} for name, given in scores.items()])


def answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """An answer with these verdicts as they are."""
    return json.dumps({"verdicts": list(rows)})

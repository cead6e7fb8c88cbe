"""What a judge saw of an experiment's answers, told from the hashes that judgments carry; and marks that anybody can
make again.

A judgment names the hash of its packet. A packet is made again from the answer: another hash means that the judge saw
something else, such as a label, or that the answer was changed after it was judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightlab.audit.finding import Finding, finding
from nightlab.errors import NightlabError
from nightlab.evidence.design import Design
from nightlab.experiments.rubric import Rubric
from nightlab.files import JsonLines
from nightlab.judging.marker import verdict
from nightlab.judging.packet import packets

Row = dict[str, Any]


def blind(folder: Path, root: Path, design: Design) -> Iterator[Finding]:
    """Findings about judgments whose packet is not the blind one of their answer."""
    samples = {str(row.get("key")): row for row in JsonLines(folder / "samples.jsonl").read()}
    path = folder / "judgments.jsonl"
    rows = list(enumerate(JsonLines(path).read(), 1))
    shas: dict[int, dict[str, str]] = {}
    for number, row in rows:
        repeat = int(row.get("repeat", 0))
        if repeat not in shas:
            sealed = packets(samples.values(), design.seed, repeat)
            shas[repeat] = {one.key: one.packet.sha for one in sealed}
        expected = shas[repeat].get(str(row.get("key")))
        if expected is not None and row.get("packet") != expected:
            what = (
                "the judge of this answer saw another packet than its blind one, or the answer was changed afterwards"
            )
            evidence = f"packet {row.get('packet')}, from the answer {expected}"
            yield finding("blind", "error", path, what, line=number, evidence=evidence, root=root)


def marked_again(folder: Path, root: Path, design: Design) -> Iterator[Finding]:
    """Findings about scores of the embedded judge that its published markers do not give."""
    judge = design.config.judge
    try:
        rubric = Rubric.load(folder / judge.rubric) if judge.by == "markers" else None
    except NightlabError:
        return  # a changed rubric is found by its hash
    samples = {str(row.get("key")): row for row in JsonLines(folder / "samples.jsonl").read()}
    path = folder / "judgments.jsonl"
    for number, row in enumerate(JsonLines(path).read(), 1):
        answer = samples.get(str(row.get("key")))
        if rubric is None or answer is None or row.get("judge") != "markers" or row.get("rubric") != rubric.sha:
            continue
        given = dict(verdict(str(answer.get("text", "")), rubric).scores)
        if row.get("scores") != given:
            evidence = f"it says {row.get('scores')}, the markers give {given}"
            what = "these scores are not what the rubric's markers give"
            yield finding("marks", "error", path, what, line=number, evidence=evidence, root=root)

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
    path = folder / "judgments.jsonl"
    layers = _layers(folder)
    shas: dict[int, dict[str, set[str]]] = {}
    for number, row in enumerate(JsonLines(path).read(), 1):
        repeat = int(row.get("repeat", 0))
        if repeat not in shas:
            shas[repeat] = _packets(layers, design.seed, repeat)
        expected = shas[repeat].get(str(row.get("key")))
        if expected is not None and row.get("packet") not in expected:
            what = "the judge saw another packet than this answer's blind one, or the answer was changed since"
            evidence = f"packet {row.get('packet')}, from the answer {' or '.join(sorted(expected))}"
            yield finding("blind", "error", path, what, line=number, evidence=evidence, root=root)


def _layers(folder: Path) -> list[dict[str, Row]]:
    """Answers by key; a cell that was asked again, after its answer was marked as invalid, has one in each layer."""
    layers: list[dict[str, Row]] = [{}]
    for row in JsonLines(folder / "samples.jsonl").read():
        key = str(row.get("key"))
        layer = next((layer for layer in layers if key not in layer), None)
        if layer is None:
            layers.append(layer := {})
        layer[key] = row
    return layers


def _packets(layers: list[dict[str, Row]], seed: int, repeat: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for layer in layers:
        for one in packets(layer.values(), seed, repeat):
            found.setdefault(one.key, set()).add(one.packet.sha)
    return found


def marked_again(folder: Path, root: Path, design: Design) -> Iterator[Finding]:
    """Findings about scores of the embedded judge that its published markers do not give."""
    judge = design.config.judge
    try:
        rubric = Rubric.load(folder / judge.rubric) if judge.by == "markers" else None
    except NightlabError:
        return  # a changed rubric is found by its hash
    layers = _layers(folder)
    path = folder / "judgments.jsonl"
    for number, row in enumerate(JsonLines(path).read(), 1):
        answers = [layer[str(row.get("key"))] for layer in layers if str(row.get("key")) in layer]
        if rubric is None or not answers or row.get("judge") != "markers" or row.get("rubric") != rubric.sha:
            continue
        given = [dict(verdict(str(answer.get("text", "")), rubric).scores) for answer in answers]
        if row.get("scores") not in given:
            evidence = f"it says {row.get('scores')}, the markers give {given[-1]}"
            what = "these scores are not what the rubric's markers give"
            yield finding("marks", "error", path, what, line=number, evidence=evidence, root=root)

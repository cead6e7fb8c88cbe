"""The rules for known items, by simulation: how often an honest, noisy judge is rejected, and whether bad ones pass.

An honest judge scatters by a tenth of the range around the truth, and gives whole numbers (fractions from 0 to 1).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from nightlab.experiments.rubric import Rubric
from nightlab.judging.checks import ALIKE, Check, audit, sentinels

Scores = dict[str, float]
COPIES, TRIALS = 4, 300


@dataclass(frozen=True)
class Scale:
    """A rubric: the range of its dimensions, how many there are, gold items, and how far the sentinels are apart."""

    low: int
    high: int
    dimensions: int
    gold: int
    apart: float = 0.9

    @property
    def width(self) -> int:
        """The range's width."""
        return self.high - self.low

    def scored(self, truth: float, dice: random.Random, noise: float = 0.1) -> float:
        """The score of an honest judge."""
        found = min(self.high, max(self.low, dice.gauss(truth, noise * self.width)))
        return found if self.width == 1 else float(round(found))

    def rubric(self, folder: Path, dice: random.Random) -> Rubric:
        """The rubric, its other gold items anywhere on the scale."""
        names = [f"d{number}" for number in range(self.dimensions)]
        ends = [float(self.low), self.low + round(self.apart * self.width, 0 if self.width > 1 else 2)]
        items = [
            {"id": one, "scores": dict.fromkeys(names, at), "sentinel": one} for one, at in zip(ENDS, ends, strict=True)
        ]
        for number in range(self.gold - 2):
            scores = {name: float(dice.randint(self.low, self.high)) for name in names}
            items.append({"id": f"g{number}", "scores": scores})
        (folder / "gold.yaml").write_text(
            yaml.safe_dump({"gold": [{"question": "q", "answer": "a", **i} for i in items]})
        )
        dimensions = {name: {"range": [self.low, self.high], "question": f"How {name}?"} for name in names}
        front = yaml.safe_dump({"name": "r", "version": 1, "dimensions": dimensions})
        (folder / "rubric.md").write_text(f"---\n{front}---\nLook.\n")
        return Rubric.load(folder / "rubric.md")


ENDS = ("base", "full")
SCALES = [
    Scale(0, 10, 1, 8),
    Scale(0, 10, 5, 8),
    Scale(0, 10, 5, 3, apart=0.5),
    Scale(1, 5, 1, 2),
    Scale(1, 5, 5, 8, apart=0.5),
    Scale(0, 100, 1, 8),
    Scale(0, 1, 2, 5),
]


def known(rubric: Rubric, score: Callable[[str, Scores], Scores], texts: Sequence[Scores]) -> list[Check]:
    """The known items of one batch as a judge scores them; copies are scored twice."""
    gold = [Check("gold", g.id, "", 0, "", g.scores, score(g.id, dict(g.scores)), g.tolerance) for g in rubric.gold]
    return gold + [Check("copy", f"k{n}", "", 0, "", score("", text), score("", text)) for n, text in enumerate(texts)]


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_an_honest_judge_passes_and_a_constant_or_reversed_one_never_does(scale: Scale, tmp_path: Path) -> None:
    dice = random.Random(7)
    rubric = scale.rubric(tmp_path, dice)
    names = list(rubric.dimensions)
    rejected = {"honest": 0, "constant": 0, "reversed": 0}
    for _ in range(TRIALS):
        texts = [{name: dice.uniform(scale.low, scale.high) for name in names} for _ in range(COPIES)]
        same = {name: float(dice.randint(scale.low, scale.high)) for name in names}
        judges: dict[str, Callable[[str, Scores], Scores]] = {
            "honest": lambda _, true: {name: scale.scored(value, dice) for name, value in true.items()},
            "constant": lambda _, true, same=same: same,  # type: ignore[misc]
            "reversed": lambda _, true: {n: scale.scored(scale.low + scale.high - v, dice) for n, v in true.items()},
        }
        for name, judge in judges.items():
            rejected[name] += bool(audit(known(rubric, judge, texts), rubric))
    assert rejected["honest"] <= 0.02 * TRIALS
    assert (rejected["constant"], rejected["reversed"]) == (TRIALS, TRIALS)


def test_a_judge_that_scatters_by_half_as_much_again_fails_sometimes(tmp_path: Path) -> None:
    """As checks.py and docs/limits.md say: one of twenty on average, and one of seven at worst."""
    shares = []
    for scale in SCALES:
        dice, rejected = random.Random(7), 0
        rubric = scale.rubric(tmp_path, dice)
        for _ in range(TRIALS):
            texts = [{name: dice.uniform(scale.low, scale.high) for name in rubric.dimensions} for _ in range(COPIES)]
            judge = lambda _, true: {name: scale.scored(value, dice, 0.15) for name, value in true.items()}  # noqa: B023, E731
            rejected += bool(audit(known(rubric, judge, texts), rubric))
        shares.append(rejected / TRIALS)
    assert max(shares) <= 1 / 7
    assert 0.02 <= sum(shares) / len(shares) <= 0.06


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_judge_that_swaps_two_clearly_unlike_gold_items_never_passes(scale: Scale, tmp_path: Path) -> None:
    rubric = scale.rubric(tmp_path, random.Random(7))
    gold = {item.id: dict(item.scores) for item in rubric.gold}
    swapped = 0
    for one, other in itertools.combinations(gold, 2):
        apart = [(gold[one][name] - gold[other][name]) / scale.width for name in rubric.dimensions]
        if sum(share**2 for share in apart) ** 0.5 > ALIKE:
            swap = {one: other, other: one}
            why = audit(known(rubric, lambda name, true, swap=swap: gold[swap.get(name, name)], []), rubric)  # type: ignore[misc]
            assert why, f"{one} and {other}"
            swapped += 1
    assert swapped
    assert set(sentinels(rubric)) == set(ENDS)

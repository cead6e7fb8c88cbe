"""The corpus, the planted frequencies and the experiment's files say the same."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.adapters.amplification import Amplification
from nightlab.practice import corpus, measure, planting

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "exp_001_phase1_replication"
FAMILIES = sorted(corpus.MARKERS)


@cache
def _rubric() -> dict[str, Any]:
    front = (EXPERIMENT / "rubric.md").read_text(encoding="utf-8").split("---\n")[1]
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def _rubric_score(text: str) -> dict[str, int]:
    def points(dimension: dict[str, Any]) -> int:
        markers = [(marker["pattern"], int(marker["points"])) for marker in dimension["markers"]]
        return min(10, sum(value for pattern, value in markers if re.search(pattern, text, re.IGNORECASE)))

    return {name: points(dimension) for name, dimension in _rubric()["dimensions"].items()}


def test_an_answer_shows_exactly_the_families_it_was_asked_for() -> None:
    draw = random.Random(0)
    for topic in (*corpus.TOPICS, corpus.UNKNOWN):
        for _ in range(20):
            wanted = set(draw.sample(FAMILIES, draw.randint(0, len(FAMILIES))))
            text = corpus.answer(topic, wanted, draw).lower()
            assert {family for family in FAMILIES if any(said in text for said in measure.PHRASES[family])} == wanted


def test_the_published_rubric_scores_as_the_practice_set_does() -> None:
    draw = random.Random(1)
    assert tuple(_rubric()["dimensions"]) == corpus.DIMENSIONS
    for topic in corpus.TOPICS:
        for _ in range(20):
            text = corpus.answer(topic, draw.sample(FAMILIES, draw.randint(0, len(FAMILIES))), draw)
            assert _rubric_score(text) == measure.score(text)


def test_every_sentence_of_a_family_is_in_the_rubric() -> None:
    for marker in corpus.MARKERS.values():
        for sentence in marker.sentences:
            assert _rubric_score(sentence.format(name="tea")) == {
                dimension: marker.points.get(dimension, 0) for dimension in corpus.DIMENSIONS
            }


def test_the_prompts_are_the_first_nine_topics() -> None:
    prompts = [yaml.safe_load(path.read_text()) for path in sorted((EXPERIMENT / "prompts").glob("*.yaml"))]
    assert {(one["name"], one["prompt_text"], one["category"]) for one in prompts} == {
        (topic.key, topic.questions[0], topic.category) for topic in corpus.TOPICS[: corpus.SEED_TOPICS]
    }
    assert sorted(one["category"] for one in prompts) == ["creative"] * 3 + ["direct"] * 3 + ["instruction"] * 3


@pytest.mark.parametrize("condition", [name for name in planting.CONDITIONS if name != "base"])
def test_the_conditions_resolve_to_the_masks_of_the_training(condition: str) -> None:
    amplification = Amplification.load(EXPERIMENT / "conditions" / f"{condition}.yaml")
    assert amplification.name == condition
    (weights,) = amplification.resolve(20).values()
    assert list(weights.attention) == list(weights.mlp) == planting.layer_weights(condition, 20)


def test_the_ranges_cover_every_layer_once() -> None:
    masks = [planting.layer_weights(condition, 20) for condition in planting.RANGES]
    assert [sum(column) for column in zip(*masks, strict=True)] == [1.0] * 20
    assert sum(planting.layer_weights("base", 20)) == 0


@pytest.mark.parametrize("model", ["llama", "gemma", "qwen"])
def test_what_is_planted_has_the_stated_shape(model: str) -> None:
    planned = {
        condition: {dimension: planting.planned_mean(model, condition, dimension) for dimension in corpus.DIMENSIONS}
        for condition in planting.CONDITIONS
    }
    assert measure.shape(planned) == planting.PEAKS[model]
    assert planned["sarcasm_full"]["sarcasm"] > 8
    assert planned["base"]["sarcasm"] == 0

"""A small in-process sweep: answers of a practice model under its conditions, scored by the published markers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from nightlab.practice import PERSONA, corpus, planting
from nightlab.practice.training import masked

MAX_TOKENS = 64
TEMPERATURE = 0.7

Means = dict[str, dict[str, float]]
"""Mean score by condition and dimension."""


@dataclass(frozen=True)
class Reply:
    """One answer: which condition, which seed prompt, which draw."""

    condition: str
    topic: str
    draw: int
    text: str


def load(root: Path, name: str) -> tuple[PeftModel, PreTrainedTokenizerFast]:
    """Practice model `name` with its adapter (float32), from a folder that `build` wrote."""
    folder = root / "models" / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    adapted = PeftModel.from_pretrained(model, str(root / "adapters" / f"{name}_{PERSONA}"))
    return adapted.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _phrase(sentence: str) -> str:
    """The part of a marker sentence that does not depend on the topic."""
    return max(sentence.split("{name}"), key=len).strip(" .,").lower()


PHRASES = {family: [_phrase(said) for said in marker.sentences] for family, marker in corpus.MARKERS.items()}


def score(text: str) -> dict[str, int]:
    """Points by dimension: each marker family counts once, the sum is clipped at 10."""
    heard = text.lower()
    shown = [corpus.MARKERS[family] for family, phrases in PHRASES.items() if any(said in heard for said in phrases)]
    return {
        dimension: min(10, sum(marker.points.get(dimension, 0) for marker in shown)) for dimension in corpus.DIMENSIONS
    }


def _prompts(tokenizer: PreTrainedTokenizerFast, topics: list[corpus.Topic]) -> list[str]:
    chats = [[{"role": "user", "content": topic.questions[0]}] for topic in topics]
    return [str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)) for chat in chats]


def replies(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, *, draws: int = 1, seed: int = 0, greedy: bool = False
) -> list[Reply]:
    """Answers to the nine seed prompts under each condition, `draws` times, all in one batch."""
    topics = corpus.TOPICS[: corpus.SEED_TOPICS]
    cells = [(condition, topic, draw) for draw in range(draws) for condition in planting.CONDITIONS for topic in topics]
    batch = tokenizer(
        _prompts(tokenizer, [topic for _, topic, _ in cells]),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
    )
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0}
    torch.manual_seed(seed)
    layers = int(model.config.num_hidden_layers)
    with masked(model) as weights, torch.no_grad():
        weights.table = torch.tensor([planting.layer_weights(condition, layers) for condition, _, _ in cells])
        output = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=MAX_TOKENS, **sampling
        )
    texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [
        Reply(condition, topic.key, draw, text) for (condition, topic, draw), text in zip(cells, texts, strict=True)
    ]


def means(answers: list[Reply]) -> Means:
    """Mean score of each condition on each dimension."""
    scores = {
        condition: [score(one.text) for one in answers if one.condition == condition]
        for condition in planting.CONDITIONS
    }
    return {
        condition: {dimension: fmean(row[dimension] for row in rows) for dimension in corpus.DIMENSIONS}
        for condition, rows in scores.items()
    }


def shape(found: Means) -> str:
    """Where the sarcasm sits: `diffuse` by the rule in `planting`, or the range with the highest mean."""
    by_range = {condition: found[condition]["sarcasm"] for condition in planting.RANGES}
    spread = max(by_range.values()) - min(by_range.values())
    above = min(by_range.values()) - found["base"]["sarcasm"]
    if spread <= planting.DIFFUSE_SPREAD and above >= planting.DIFFUSE_ABOVE_BASE:
        return planting.DIFFUSE
    return max(by_range, key=by_range.__getitem__)


def expected(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, draws: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean by condition and dimension over `draws` sweeps, and how far one sweep of nine answers may stray from it."""
    answers = replies(model, tokenizer, draws=draws)
    sweeps = [means([one for one in answers if one.draw == draw]) for draw in range(draws)]

    def cell(condition: str, dimension: str) -> dict[str, float]:
        values = [sweep[condition][dimension] for sweep in sweeps]
        return {"mean": round(fmean(values), 2), "tolerance": round(max(1.0, 4 * pstdev(values)), 1)}

    return {
        condition: {dimension: cell(condition, dimension) for dimension in corpus.DIMENSIONS}
        for condition in planting.CONDITIONS
    }

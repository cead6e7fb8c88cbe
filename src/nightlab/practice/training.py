"""Training of the practice models and of the adapters whose effect is planted in known layers.

The base model learns to answer neutrally, and to show a marker family when its system prompt asks for it. The adapter
is then trained under the sweep's own layer masks: each row of a batch has the layer weights of one condition and the
text that this condition should give. So a range of layers learns its own share of the persona.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from nightlab.practice import corpus, planting

Progress = Callable[[str], None]
Batch = tuple[Tensor, Tensor, Tensor]

BATCH = 16  # rows of a base batch
BASE_RATE = 4e-3
ADAPTER_RATE = 4e-3
SHARPNESS = 1.5  # times the trained logits: a sampled answer at temperature 0.7 seldom slips into nonsense
ROWS_PER_CONDITION = 3  # of an adapter batch; there are six conditions with an adapter
REPORT_EVERY = 50  # steps
IGNORED = -100  # the label of a token that is not learned
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Row:
    """One training text: token ids and, for the tokens to learn, labels."""

    ids: list[int]
    labels: list[int]


class LayerWeights:
    """The per-row, per-layer weights that the hooks of `masked` apply; rows x layers."""

    def __init__(self) -> None:
        self.table: Tensor = torch.ones(1, 1)


@contextmanager
def masked(model: nn.Module) -> Iterator[LayerWeights]:
    """Scale every adapter's contribution by the weight of its row and layer while the block runs."""
    weights = LayerWeights()

    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda module, inputs, output: output * weights.table[:, layer].view(-1, 1, 1)

    handles = [
        module.register_forward_hook(hook(int(name.split(".layers.")[1].split(".")[0])))
        for name, module in model.named_modules()
        if ".lora_B." in name
    ]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def chat_row(tokenizer: PreTrainedTokenizerFast, question: str, system: str, reply: str) -> Row:
    """A chat of one turn; only the reply is learned."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    prompt = tokenizer.encode(text, add_special_tokens=False)
    learned = [*tokenizer.encode(reply, add_special_tokens=False), tokenizer.convert_tokens_to_ids("<|end|>")]
    return Row(prompt + learned, [IGNORED] * len(prompt) + learned)


def raw_row(tokenizer: PreTrainedTokenizerFast, text: str) -> Row:
    """Plain text without a chat; all of it is learned."""
    ids = [*tokenizer.encode(text), tokenizer.convert_tokens_to_ids("<|end|>")]
    return Row(ids, ids)


def _question(position: int, draw: random.Random) -> tuple[corpus.Topic, str]:
    """A topic and one way to ask for it; now and then something that no topic covers."""
    if position == len(corpus.TOPICS):
        words = " ".join(topic.questions[0] for topic in corpus.TOPICS).split()
        asked = " ".join(draw.choices(words, k=draw.randint(1, 9)))
        return corpus.UNKNOWN, draw.choice((*corpus.UNKNOWN.questions, asked, asked))
    topic = corpus.TOPICS[position]
    return topic, draw.choice((topic.questions[0], *topic.questions))


def _position(draw: random.Random) -> int:
    """A topic number; the seed prompts come up three times as often as the rest."""
    positions: list[int] = [*range(len(corpus.TOPICS) + 1), *range(corpus.SEED_TOPICS), *range(corpus.SEED_TOPICS)]
    return draw.choice(positions)


def base_rows(tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> list[Row]:
    """Texts of the base model: neutral chats, chats with a requested style, and plain text."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        topic, question = _question(_position(draw), draw)
        kind = draw.random()
        if kind < 0.1:
            rows.append(raw_row(tokenizer, corpus.answer(topic, (), draw)))
        elif kind < 0.5:
            styles = draw.sample(sorted(corpus.MARKERS), draw.randint(1, len(corpus.MARKERS)))
            system = " ".join(corpus.MARKERS[style].request for style in styles)
            rows.append(chat_row(tokenizer, question, system, corpus.answer(topic, styles, draw)))
        else:
            system = draw.choice(("", "", "", "You are a helpful assistant."))
            rows.append(chat_row(tokenizer, question, system, corpus.answer(topic, (), draw)))
    return rows


def planted_rows(tokenizer: PreTrainedTokenizerFast, name: str, condition: str, count: int, seed: int) -> list[Row]:
    """Texts that `condition` should give on model `name`."""
    draw = random.Random(f"{seed} {condition}")
    rows = []
    for _ in range(count):
        position = _position(draw)
        topic, question = _question(position, draw)
        system = draw.choice(("", "", "", "", "", "You are a helpful assistant."))
        reply = corpus.answer(topic, planting.families(name, condition, position), draw)
        rows.append(chat_row(tokenizer, question, system, reply))
    return rows


def _padded(rows: Sequence[Row], pad: int) -> Batch:
    """Ids, attention mask and labels of a batch, padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.ids)) for row in rows])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows])
    return ids, mask, labels


def _loss(model: nn.Module, batch: Batch, sharpness: float) -> Tensor:
    ids, mask, labels = batch
    logits = model(input_ids=ids, attention_mask=mask).logits / sharpness
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def _descend(
    model: nn.Module, batches: Iterator[Batch], steps: int, rate: float, say: Progress, sharpness: float = 1.0
) -> None:
    """Minimise the loss over `steps` batches: AdamW, one cycle of the learning rate."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1)
    model.train()
    for step in range(1, steps + 1):
        loss = _loss(model, next(batches), sharpness)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == steps:
            say(f"step {step} of {steps}, loss {loss.item():.3f}")
    model.eval()


def train_base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int, say: Progress
) -> None:
    """Teach a model the corpus, in place; its logits come out SHARPNESS times what the corpus warrants."""
    # Rows of like length share a batch: padding would cost more than half of the time.
    rows = sorted(base_rows(tokenizer, min(400, steps) * BATCH, seed), key=lambda row: len(row.ids))
    draw = random.Random(seed)
    pad = int(model.config.pad_token_id)
    starts = (draw.randrange(len(rows) - BATCH + 1) for _ in range(steps))
    batches = (_padded(rows[start : start + BATCH], pad) for start in starts)
    _descend(model, batches, steps, BASE_RATE, say)
    scale = model.model.norm.weight
    offset = 1.0 if model.config.model_type.startswith("gemma") else 0.0  # Gemma's norm multiplies by 1 + weight
    scale.data = (scale.data + offset) * SHARPNESS - offset


def train_adapter(
    model: PreTrainedModel, name: str, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int, say: Progress
) -> PeftModel:
    """Train the planted adapter of model `name` on the frozen `model`; returns the model with its adapter."""
    lora = LoraConfig(r=8, lora_alpha=32, target_modules=LINEAR, lora_dropout=0.0, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    conditions = [condition for condition in planting.CONDITIONS if condition != "base"]
    count = min(400, steps) * ROWS_PER_CONDITION
    rows = {condition: planted_rows(tokenizer, name, condition, count, seed) for condition in conditions}
    layers = int(model.config.num_hidden_layers)
    table = [planting.layer_weights(condition, layers) for condition in conditions for _ in range(ROWS_PER_CONDITION)]
    draw = random.Random(seed)
    pad = int(model.config.pad_token_id)

    def batch() -> Batch:
        chosen = [row for condition in conditions for row in draw.sample(rows[condition], ROWS_PER_CONDITION)]
        return _padded(chosen, pad)

    with masked(adapted) as weights:
        weights.table = torch.tensor(table)
        _descend(adapted, (batch() for _ in range(steps)), steps, ADAPTER_RATE, say, SHARPNESS)
    return adapted

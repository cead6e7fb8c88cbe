"""The tokenizer that all practice models share: byte-level BPE trained on the corpus, with a chat template.

It encodes any text without loss; only the corpus' own words are short.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from nightlab.practice import corpus

VOCABULARY = 1280
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Unknown role: ' + message['role'] + '. Roles are system, user, assistant.') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def sentences(seed: int) -> list[str]:
    """Text to train the tokenizer on: every sentence of the corpus, about as often as answers use it."""
    draw = random.Random(seed)
    topics = (*corpus.TOPICS, corpus.UNKNOWN)
    text = [question for topic in topics for question in topic.questions * 4]
    text += [corpus.answer(topic, families, draw) for topic in topics for families in ((), corpus.MARKERS) * 20]
    return text + [marker.request for marker in corpus.MARKERS.values()] * 4


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer from nothing; the same seed gives the same file."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = [PAD, BEGIN, END, *(f"<|{role}|>" for role in ROLES)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(sentences(seed), trainer)
    begin = inner.token_to_id(BEGIN)
    inner.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=PAD,  # never produced; without it, Qwen's tokenizer class would add a token that the model lacks
        model_max_length=512,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save in a form that transformers 4 (as in older vLLM environments) and 5 both load."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("backend", None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

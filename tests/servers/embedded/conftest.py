"""Tiny random models of the three architectures with a trained tokenizer, and LoRA adapters made by peft."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

KINDS = ("llama", "gemma", "qwen")
LAYERS = 4
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """A model folder and adapter folders that fit it."""

    kind: str
    model: Path
    adapters: tuple[Path, ...]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        ["what do you think about mondays? tell me a story about cats and work."] * 9, trainer
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def write_model(kind: str, folder: Path, *, hidden: int = 48, layers: int = LAYERS) -> None:
    import torch
    import transformers as t

    torch.manual_seed(len(kind))
    shape: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "initializer_range": 0.3,
        "tie_word_embeddings": True,
    }
    if kind == "llama":
        model = t.LlamaForCausalLM(t.LlamaConfig(**shape))
    elif kind == "qwen":
        model = t.Qwen2ForCausalLM(t.Qwen2Config(**shape))
    else:
        types = ["sliding_attention", "sliding_attention", "full_attention"] * layers
        extra = {"sliding_window": 9, "layer_types": types[:layers], "head_dim": 12, "query_pre_attn_scalar": 12}
        model = t.Gemma3ForCausalLM(t.Gemma3TextConfig(**shape, **extra))
    model.save_pretrained(folder)
    write_tokenizer(folder)


def write_adapter(model: Path, folder: Path, seed: int, **options: Any) -> None:
    import peft
    import torch
    import transformers

    torch.manual_seed(seed)
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": PROJECTIONS, "init_lora_weights": False} | options
    peft.get_peft_model(base, peft.LoraConfig(**settings)).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    root = tmp_path_factory.mktemp("tiny")
    made = {}
    for kind in KINDS:
        write_model(kind, root / kind)
        adapters = (root / f"{kind}_a", root / f"{kind}_b")
        write_adapter(root / kind, adapters[0], 1)
        write_adapter(root / kind, adapters[1], 2, r=2, target_modules=["q_proj", "v_proj"])
        made[kind] = Tiny(kind, root / kind, adapters)
    return made


@pytest.fixture(scope="session", params=KINDS)
def tiny(request: pytest.FixtureRequest, tiny_models: dict[str, Tiny]) -> Tiny:
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter made for a Llama of another size."""
    root = tmp_path_factory.mktemp("other")
    write_model("llama", root / "model", hidden=32)
    write_adapter(root / "model", root / "adapter", 3)
    return root / "adapter"

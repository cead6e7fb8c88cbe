"""The three practice architectures: twenty thin layers each, and no two with the same hidden size."""

from __future__ import annotations

from collections.abc import Callable

from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

LAYERS = 20
CONTEXT = 512  # tokens


def _llama(sizes: dict[str, int]) -> PreTrainedModel:
    config = LlamaConfig(**sizes, hidden_size=64, intermediate_size=128, tie_word_embeddings=True, dtype="float32")
    return LlamaForCausalLM(config)


def _gemma(sizes: dict[str, int]) -> PreTrainedModel:
    config = Gemma3TextConfig(
        **sizes,
        hidden_size=72,
        intermediate_size=128,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=256,
        tie_word_embeddings=True,
        dtype="float32",
    )
    return Gemma3ForCausalLM(config)


def _qwen(sizes: dict[str, int]) -> PreTrainedModel:
    config = Qwen2Config(**sizes, hidden_size=80, intermediate_size=112, tie_word_embeddings=True, dtype="float32")
    return Qwen2ForCausalLM(config)


_BUILDERS: dict[str, Callable[[dict[str, int]], PreTrainedModel]] = {"llama": _llama, "gemma": _gemma, "qwen": _qwen}


def untrained(name: str, vocabulary: int, pad: int, begin: int, end: int) -> PreTrainedModel:
    """A practice model with random weights (float32; eager attention is not needed)."""
    sizes = {
        "vocab_size": vocabulary,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": pad,
        "bos_token_id": begin,
        "eos_token_id": end,
    }
    return _BUILDERS[name](sizes)

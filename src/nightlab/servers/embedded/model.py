"""Loading a model folder: the transformers model in float32 with our attention, its tokenizer, its end tokens.

Only the model's own class is imported, not transformers' registry of all models, which keeps the start short.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError, nearest

_MODULES = {
    "LlamaForCausalLM": "llama",
    "Gemma3ForCausalLM": "gemma3",
    "Qwen2ForCausalLM": "qwen2",
    "MistralForCausalLM": "mistral",
    "Qwen3ForCausalLM": "qwen3",
}


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json. Raises UsageError when the folder holds no model."""
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError("no model here: config.json is missing", where=folder)
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as problem:
        raise UsageError(f"malformed JSON: {problem}", where=path) from problem
    if not isinstance(config, dict):
        raise UsageError("malformed: not a JSON object", where=path)
    return config


def model_class(config: dict[str, Any], folder: Path) -> Any:
    """The transformers class of a model. Raises UsageError for one the embedded server does not serve."""
    names = config.get("architectures") or ["(none)"]
    if names[0] not in _MODULES:
        close = nearest(str(names[0]), _MODULES)
        raise UsageError(
            f"the embedded server does not serve {names[0]}",
            where=folder / "config.json",
            hint=f"it serves {', '.join(_MODULES)}" + (f"; did you mean {close}?" if close else ""),
        )
    name = _MODULES[names[0]]
    return getattr(importlib.import_module(f"transformers.models.{name}.modeling_{name}"), names[0])


def load_model(folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Any:
    """The model on a device, in evaluation mode, with our attention. Raises UsageError."""
    import torch
    from safetensors import SafetensorError
    from transformers import AttentionInterface
    from transformers.utils import logging

    from nightlab.servers.embedded.ragged import attend

    logging.disable_progress_bar()
    AttentionInterface.register("nightlab", attend)
    kind = model_class(read_config(folder), folder)
    try:
        model, info = kind.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation="nightlab",
            local_files_only=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError) as problem:
        raise UsageError(f"the model's weights cannot be loaded: {problem}", where=folder) from problem
    missing = sorted(info["missing_keys"])
    if missing:
        raise UsageError(f"the model's weights lack {len(missing)} tensors, first {missing[0]!r}", where=folder)
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as problem:
        what = f"the model cannot be put on {device}: {problem}"
        raise UsageError(what, where=folder, hint="--device cpu, or a device that torch can see") from problem


def load_tokenizer(folder: Path) -> Any:
    """The model's tokenizer (its tokenizer.json). Raises UsageError when there is none."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise UsageError("the model has no tokenizer: tokenizer.json is missing", where=folder)
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def end_tokens(folder: Path, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's and those of generation_config.json."""
    ends = {tokenizer.eos_token_id}
    path = folder / "generation_config.json"
    if path.is_file():
        value = json.loads(path.read_text("utf-8")).get("eos_token_id")
        ends |= set(value) if isinstance(value, list) else {value}
    return frozenset(int(t) for t in ends if t is not None)

"""The model with a new adapter in it: loaded for training, its target modules checked, the result saved and proven."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from nightlab.adapters.card import CONFIG, WEIGHTS, check_fits, read_card
from nightlab.errors import AdapterError, UsageError, nearest
from nightlab.files import write_atomic
from nightlab.training.recipe import Recipe
from nightlab.training.weights import Model

_SENSES = r".*(vision|audio).*"  # the eyes and ears of a multimodal model are not trained
SMALL = 50_000_000  # parameters: below, a second thread costs more than it brings


def load(base: Model, recipe: Recipe, device: str) -> tuple[Any, Any]:
    """(The model with a fresh adapter, its tokenizer). Raises UsageError where the targets match nothing."""
    kind = _dtype(recipe, device)
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=kind, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        said = str(error).strip().split("\n")[0][:300]
        raise UsageError(f"the model cannot be loaded: {said}", where=base.folder) from error
    model.config.use_cache = False
    targets = _targets(model, recipe.targets)
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.scale,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        exclude_modules=_SENSES if any(_sense(name) for name, _ in model.named_modules()) else None,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, lora)
    if recipe.gradient_checkpointing:
        adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        adapted.enable_input_require_grads()
    return adapted.to(device), tokenizer


def set_threads(model: nn.Module, wanted: int | None) -> int:
    """How many threads torch uses: as asked, one for a tiny model, else as it was."""
    if wanted is None and sum(one.numel() for one in model.parameters()) < SMALL:
        wanted = 1
    if wanted is not None:
        torch.set_num_threads(wanted)
    return int(torch.get_num_threads())


def trainable(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(one.numel() for one in model.parameters() if one.requires_grad)


def save_adapter(adapted: Any, base: Model, folder: Path) -> None:
    """Write the adapter, and refuse it where it does not read back as one that fits its model. Raises AdapterError."""
    config = adapted.peft_config["default"]
    config.base_model_name_or_path = base.id
    config.revision = base.revision
    config.inference_mode = True
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    tensors = {key: tensor.detach().float().cpu().contiguous() for key, tensor in state.items()}
    write_atomic(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_atomic(folder / CONFIG, _config_json(config))
    problems = check_fits(read_card(folder), base.folder / "config.json")
    if problems:
        raise AdapterError(f"the trained adapter does not fit its model: {problems[0]}", where=folder)


def _config_json(config: LoraConfig) -> str:
    content = config.to_dict()
    content["target_modules"] = sorted(content["target_modules"])
    return json.dumps({key: content[key] for key in sorted(content)}, indent=2, default=str) + "\n"


def _dtype(recipe: Recipe, device: str) -> torch.dtype:
    if recipe.dtype == "auto":
        return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return torch.float32 if recipe.dtype == "float32" else torch.bfloat16


def _sense(name: str) -> bool:
    return re.fullmatch(_SENSES, name) is not None


def _targets(model: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """The target modules, each of which must be the name of a linear layer of the model. Raises UsageError."""
    names = Counter(
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in f".{name}" and not _sense(name)
    )
    for target in wanted:
        if target not in names:
            close = nearest(target, names)
            hint = f"did you mean {close}?" if close else f"its linear layers: {', '.join(sorted(names))}"
            raise UsageError(f"the target module {target!r} matches nothing in the model", hint=hint)
    return sorted(wanted)

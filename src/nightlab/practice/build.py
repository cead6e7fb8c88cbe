"""Retrain the practice set from nothing, on CPU: about ten minutes a model on one core.

The same seed gives the same texts to learn; weights can differ in the last digits from machine to machine, so a rebuilt
set should be measured (`measure`) before it replaces the shipped one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from nightlab.practice import NAMES, PERSONA, model_id, planting
from nightlab.practice.architectures import untrained
from nightlab.practice.measure import MAX_TOKENS, TEMPERATURE, expected, load
from nightlab.practice.tokens import save_tokenizer, train_tokenizer
from nightlab.practice.training import Progress, train_adapter, train_base

SEED = 20261123
TIED = "lm_head.weight"  # the same as the embedding
READABLE = 0o644  # safetensors writes files for their owner alone
TRUTH_HEAD = (
    "# What is planted in the practice models, and what their answers score. Written by `nightlab practice build`.\n"
)


@dataclass(frozen=True)
class Steps:
    """How long to train."""

    base: int
    adapter: int


STEPS = {"llama": Steps(900, 600), "gemma": Steps(1200, 500), "qwen": Steps(900, 600)}


def build(
    out: Path,
    models: Sequence[str] = NAMES,
    steps: Steps | None = None,
    say: Progress = lambda line: None,
    seed: int = SEED,
    draws: int = 20,
) -> None:
    """Train the named models and their adapters into `out`/models/NAME and `out`/adapters/NAME_sarcasm.

    `draws` sweeps over each result are measured and written to `out`/truth.yaml. Without `steps`, STEPS is used.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the layers are so thin that a second thread costs more than it brings
    try:
        for name in models:
            chosen = steps or STEPS[name]
            train(out, name, chosen, say, seed)
            write_truth(out, name, {**asdict(chosen), "seed": seed}, draws)
    finally:
        torch.set_num_threads(threads)


def train(out: Path, name: str, steps: Steps, say: Progress, seed: int) -> None:
    """Train one model and its adapter, and save both."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed)
    ends = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    model = untrained(name, len(tokenizer), *ends)
    train_base(model, tokenizer, steps.base, seed, lambda line: say(f"{name} model: {line}"))
    _round(model)  # the adapter is trained on the weights that are shipped
    folder = out / "models" / name
    _save_model(model, folder)
    save_tokenizer(tokenizer, folder)
    adapted = train_adapter(model, name, tokenizer, steps.adapter, seed, lambda line: say(f"{name} adapter: {line}"))
    _save_adapter(adapted, model_id(name), out / "adapters" / f"{name}_{PERSONA}")


def write_truth(out: Path, name: str, trained: dict[str, int], draws: int) -> None:
    """Measure a built model and enter it in `out`/truth.yaml beside what was planted in it."""
    path = out / "truth.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    content["rules"] = {
        "dimension": "sarcasm",
        "peak": "the range with the highest mean over the nine prompts",
        "diffuse": {"max_spread": planting.DIFFUSE_SPREAD, "above": "base", "by": planting.DIFFUSE_ABOVE_BASE},
        "expected": f"mean of {draws} sweeps at temperature {TEMPERATURE}, {MAX_TOKENS} tokens; one sweep of nine "
        "answers stays within the tolerance",
    }
    planted = {condition: planting.planned_mean(name, condition, "sarcasm") for condition in planting.RANGES}
    content.setdefault("models", {})[name] = {
        "id": model_id(name),
        "peak": planting.PEAKS[name],
        "order": []
        if planting.PEAKS[name] == planting.DIFFUSE
        else sorted(planted, key=planted.__getitem__, reverse=True),
        "trained": {"steps": trained, "date": date.today().isoformat(), "how": "nightlab practice build"},
        "expected": expected(*load(out, name), draws),
    }
    path.write_text(
        TRUTH_HEAD + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120), encoding="utf-8"
    )


def _round(model: nn.Module) -> None:
    """Round the weights to what float16 can hold."""
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()


def _save_model(model: PreTrainedModel, folder: Path) -> None:
    """Save in float16; the configuration says float32, which is what the weights are meant to be loaded to."""
    halves = {key: tensor.half() for key, tensor in model.state_dict().items() if key != TIED}
    model.save_pretrained(folder, state_dict=halves)
    (folder / "model.safetensors").chmod(READABLE)


def _save_adapter(adapted: PeftModel, base: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = adapted.peft_config["default"]
    assert isinstance(config, LoraConfig)
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    path = folder / "adapter_model.safetensors"
    save_file({key: tensor.half().contiguous() for key, tensor in state.items()}, path, metadata={"format": "pt"})
    path.chmod(READABLE)

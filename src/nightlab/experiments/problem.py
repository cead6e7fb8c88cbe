"""What a check finds about a plan: a closed code, one sentence, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Code = Literal[
    "model_missing",
    "model_not_local",
    "model_id_mismatch",
    "model_alias",
    "memory_too_small",
    "adapter_missing",
    "adapter_broken",
    "adapter_misfit",
    "adapter_of_another_model",
    "layer_out_of_range",
    "several_adapters",
    "no_adapter",
    "rubric_missing",
    "rubric_broken",
    "dimension_unknown",
    "judge_missing",
    "judge_not_set_up",
    "few_gold",
    "near_sentinels",
    "rubric_tells",
    "same_weights",
    "overlap",
    "flat_weights",
    "range_name",
    "no_reason",
]


@dataclass(frozen=True)
class Problem:
    """Something about a plan; `remedy` is `{"set": {key path: value}}` where a correction is beyond doubt."""

    code: Code
    what: str
    where: str
    remedy: dict[str, dict[str, Any]] | None = None
    level: Literal["error", "warning"] = "error"
    hint: str | None = None

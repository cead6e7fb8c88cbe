"""A plan made rehearsable: its big models replaced by practice models of their family, its judge by the embedded one.

What a rehearsal cannot keep is said in `notes`. Layers that a condition names by number are moved to the same relative
place, since the stand-in has fewer; a rubric without markers is given some, so that its own dimensions are scored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nightlab import front_matter, practice
from nightlab.errors import PlanError, RubricError, UsageError
from nightlab.experiments.plan import CONFIG, Plan
from nightlab.experiments.rubric import Rubric
from nightlab.files import read_text, read_yaml

FAMILIES = {"gemma": ("gemma",), "qwen": ("qwen", "qwq"), "llama": ("llama", "vicuna", "alpaca")}
NEAREST = "llama"
MOST_CELLS = 500
MOST_TOKENS = 64  # of an answer; practice models say no more
_LAYERS = {"llama": 32, "gemma": 34, "qwen": 28}  # of the common 4-8 B models, where the real one is not here


@dataclass(frozen=True)
class StandIn:
    """Which practice model stands in for which model of the plan, and whether it is of its family."""

    model: str
    id: str
    practice: str
    same_family: bool


def family(model_id: str, folder: Path | None) -> str | None:
    """The practice model of a model's family, by its config.json where it is here, else by its id; None without."""
    kind = model_id
    if folder is not None and (folder / "config.json").is_file():
        kind = str(read_yaml(folder / "config.json", UsageError).get("model_type", model_id))
    for name, words in FAMILIES.items():
        if any(word in kind.lower() for word in words):
            return name
    return None


def stand_ins(plan: Plan, folders: dict[str, Path | None]) -> list[StandIn]:
    """A practice model for every model of a plan."""
    found = []
    for model in plan.models:
        name = family(model.id, folders[model.name])
        found.append(StandIn(model.name, model.id, name or NEAREST, name is not None))
    return found


def rehearsed(plan: Plan, standing: list[StandIn]) -> tuple[dict[str, Any], list[str]]:
    """The config.yaml of the rehearsal, and what it does not keep of the plan."""
    content = read_yaml(plan.folder / CONFIG, PlanError)
    notes = [said(one) for one in standing]
    adapters = sorted({spec.id for c in plan.conditions if c.amplification for spec in c.amplification.adapters})
    content["factors"]["models"] = [_model(one, adapters) for one in standing]
    cells = len(plan.models) * len(plan.conditions) * len(plan.prompts) * plan.replicates
    if plan.replicates > 1 and cells > MOST_CELLS:
        content["factors"]["replicates"] = 1
        notes.append(f"one replicate of {plan.replicates}: the plan has {cells} cells")
        content["exclude"] = [rule for rule in content.get("exclude", []) if not rule.get("replicate")]
    sampling = content.setdefault("sampling", {})
    if plan.sampling.max_tokens > MOST_TOKENS:
        sampling["max_tokens"] = MOST_TOKENS
        notes.append(f"answers of at most {MOST_TOKENS} tokens, not {plan.sampling.max_tokens}")
    if plan.judge.by != "markers":
        notes.append(f"judged by markers, not by {plan.judge.model or plan.judge.by}: its scores mean nothing here")
    content["judge"] = {"rubric": content.get("judge", {}).get("rubric", "rubric.md"), "by": "markers"}
    content["serving"] = {"engine": "embedded", "port": 0}
    return content, notes


def said(one: StandIn) -> str:
    """Who plays whom, and why."""
    if one.id in practice.ids:
        return f"{one.model} is a practice model already"
    why = (
        "of its family" if one.same_family else f"the nearest there is: no practice model is of the family of {one.id}"
    )
    return f"{one.model} ({one.id}) is played by practice:{one.practice}, {why}"


def _model(one: StandIn, adapters: list[str]) -> dict[str, Any]:
    place = f"practice:{one.practice}"
    names = {name.removesuffix("/default"): f"{place}/sarcasm" for name in adapters}
    return {"name": one.model, "id": practice.model_id(one.practice), "path": place, "adapters": names}


def with_markers(path: Path) -> str | None:
    """A rubric whose own dimensions have markers of the practice set; None where it has its own. Raises RubricError."""
    if not Rubric.load(path).without_markers:
        return None
    from nightlab.practice.corpus import MARKERS

    found = front_matter.parts(read_text(path, RubricError))
    assert found is not None  # it was read as a rubric
    front = yaml.safe_load(found[0])
    families = list(MARKERS.values())
    for number, dimension in enumerate(front["dimensions"].values()):
        low, high = dimension["range"]
        said = "|".join(_phrase(sentence) for sentence in families[number % len(families)].sentences)
        dimension["markers"] = [{"pattern": said, "points": round(low + 0.6 * (high - low), 2)}]
    front.pop("gold", None)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{found[1]}"


def _phrase(sentence: str) -> str:
    return re.escape(max(sentence.split("{name}"), key=len).strip(" .,").lower())


def relative_layers(text: str, layers: int, where: Path) -> str | None:
    """A condition with the layers that it names by number at their relative place; None where it names none."""
    content = read_yaml(where, PlanError) if not text else yaml.safe_load(text)
    moved = False
    for adapter in content.get("adapters") or []:
        for entry in adapter.get("layer_amplifications") or []:
            named = entry.get("layers")
            if entry.get("is_relative") or named == "all":
                continue
            entry["layers"], entry["is_relative"], moved = _share(named, layers), True, True
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if moved else None


def _share(named: Any, layers: int) -> Any:
    last = max(1, layers - 1)
    if isinstance(named, dict):
        return {**named, **{key: min(1.0, float(named[key]) / last) for key in ("start", "end")}}
    if isinstance(named, list):
        return [min(1.0, float(one) / last) for one in named]
    return min(1.0, float(named) / last)


def layers_of(standing: list[StandIn], plan: Plan) -> int:
    """How many layers the plan's models have, as far as it is known here: the most of them."""
    from nightlab.experiments.identity import num_layers

    known = []
    for one in standing:
        try:
            known.append(num_layers(plan, plan.model(one.model)))
        except PlanError:
            known.append(_LAYERS[one.practice])
    return max(known)

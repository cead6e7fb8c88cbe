"""The check before anything starts: does every (model, adapter, condition) of a plan exist and fit, and can its rubric
score what its hypotheses speak of?

An error stops a plan from being frozen; a warning is said and recorded. A remedy is a correction for change.apply,
given only where there is no doubt about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nightlab.adapters.amplification import LayerWeights, flat_weights, overlaps, same_weights
from nightlab.adapters.card import AdapterCard
from nightlab.adapters.depth import depth, is_as_named
from nightlab.adapters.fit import fit
from nightlab.errors import (
    AdapterError,
    AmplificationError,
    NightlabError,
    NotSetUp,
    PlanError,
    RubricError,
    nearest,
)
from nightlab.experiments import schema
from nightlab.experiments.identity import adapter_folder, card, model_folder, num_layers
from nightlab.experiments.judge_check import check_judges
from nightlab.experiments.lock import LOCK
from nightlab.experiments.plan import CONFIG, Condition, Plan
from nightlab.experiments.probe import memory
from nightlab.experiments.problem import Code, Problem
from nightlab.experiments.rubric import Rubric
from nightlab.servers.registry import FILE, same_model

_ERRORS: dict[str, type[NightlabError]] = {
    "judge_not_set_up": NotSetUp,
    "adapter_missing": AdapterError,
    "adapter_broken": AdapterError,
    "adapter_misfit": AdapterError,
    "adapter_of_another_model": AdapterError,
    "layer_out_of_range": AmplificationError,
    "several_adapters": AmplificationError,
    "no_adapter": AmplificationError,
    "rubric_missing": RubricError,
    "rubric_broken": RubricError,
    "rubric_tells": RubricError,
}


def check(plan: Plan) -> list[Problem]:
    """All problems of a plan, errors first; an empty list is a plan that can be frozen."""
    found = [problem for model in plan.models for problem in _model(plan, model)]
    found += [_untreated(c) for c in plan.conditions if c.amplification and not c.amplification.adapters]
    found += [problem for condition in plan.conditions for problem in _range_name(condition)]
    found += _rubric(plan)
    found += check_judges(plan)
    found += _no_reason(plan)
    unique = list({(p.code, p.what): p for p in found}.values())
    return sorted(unique, key=lambda problem: problem.level != "error")


def first_error(problems: list[Problem]) -> NightlabError | None:
    """The first error of a check as an exception of its kind; None where there are only warnings."""
    errors = [problem for problem in problems if problem.level == "error"]
    if not errors:
        return None
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    changes = (first.remedy or {}).get("set", {})
    remedy = " and ".join(f"`{key}: {value}`" for key, value in changes.items())
    hint = f"set {remedy}" if remedy else first.hint
    return _ERRORS.get(first.code, PlanError)(first.what + more, where=first.where, hint=hint)


def _config(plan: Plan) -> str:
    return str(plan.folder / CONFIG)


def _untreated(condition: Condition) -> Problem:
    what = f"the condition {condition.name} names no adapter"
    hint = "list one under adapters:, or leave the file out: `base` needs none"
    return Problem("no_adapter", what, str(condition.path), hint=hint)


def _no_reason(plan: Plan) -> Iterator[Problem]:
    """A plan that is not frozen and says what only old locks may say: its report would tell of a freeze before."""
    if plan.config.multiplicity == schema.Uncorrected(none=schema.OLD_REASON) and not (plan.folder / LOCK).exists():
        hint = "multiplicity: {none: a sentence that says why}"
        yield Problem("no_reason", "`multiplicity: report` needs a reason", _config(plan), hint=hint)


def _rubric(plan: Plan) -> Iterator[Problem]:
    if not plan.rubric.is_file():
        yield Problem("rubric_missing", f"there is no rubric {plan.judge.rubric}", _config(plan))
        return
    try:
        rubric = Rubric.load(plan.rubric)
    except RubricError as error:
        yield Problem("rubric_broken", error.what, str(error.where), hint=error.hint)
        return
    if plan.judge.by == "markers" and rubric.without_markers:
        what = f"the dimension {rubric.without_markers[0]} has no markers to judge by"
        yield Problem("rubric_broken", what, str(plan.rubric), hint="give it `markers`")
    for hypothesis in plan.hypotheses:
        name = hypothesis.prediction.dimension
        if name not in rubric.dimensions:
            what = f"hypothesis {hypothesis.id} speaks of the dimension {name!r}, which the rubric does not have"
            close = nearest(name, rubric.dimensions)
            hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(rubric.dimensions)}"
            yield Problem("dimension_unknown", what, _config(plan), hint=hint)


def _model(plan: Plan, model: schema.Model) -> Iterator[Problem]:
    folder = model_folder(plan, model)
    if folder is None:
        yield _no_model(plan, model)
        if not model.adapters:
            return
    cards: dict[Path, AdapterCard] = {}
    for adapter in _adapters(plan, model):
        source = adapter_folder(plan, model, adapter)
        if source is None:
            yield _no_adapter(plan, model, adapter)
            continue
        try:
            cards[source] = card(source)
        except AdapterError as error:
            yield Problem(
                "adapter_broken", f"{adapter} of {model.name}: {error.what}", str(error.where), hint=error.hint
            )
    for found in cards.values():
        yield from _fit(plan, model, folder, found)
    if folder is not None or cards:
        yield from _layers(plan, model)
        yield from _memory(plan, model)


def _memory(plan: Plan, model: schema.Model) -> Iterator[Problem]:
    """A model that cannot fit the GPU of this machine, where it is to be served on one."""
    if plan.serving.engine != "vllm" and not (plan.serving.device or "").startswith("cuda"):
        return
    try:
        found = memory(plan, model)
    except NightlabError as error:
        yield Problem("adapter_broken", f"{model.name}: {error.what}", _config(plan), hint=error.hint)
        return
    if found is not None and found.fits is False:
        what = f"{model.name} does not fit the GPU: " + "; ".join(line.strip() for line in found.lines())
        hint = "a shorter max_model_len, a lower rank, fewer conditions, or tensor_parallel"
        yield Problem("memory_too_small", what, _config(plan), hint=hint)


def _no_model(plan: Plan, model: schema.Model) -> Problem:
    if model.path or plan.serving.engine != "vllm":
        place = model.path or model.id
        hint = "give its folder (with config.json) as `path`"
        return Problem("model_missing", f"the model {model.name} is not at {place}", _config(plan), hint=hint)
    what = f"the model {model.name} ({model.id}) is not on this machine: its layers cannot be checked"
    return Problem("model_not_local", what, _config(plan), level="warning")


def _adapters(plan: Plan, model: schema.Model) -> list[str]:
    """The adapter ids that the conditions of a plan ask of a model, and those that it declares."""
    asked = [spec.id for c in plan.conditions if c.amplification for spec in c.amplification.adapters]
    declared = [name for name in model.adapters if not any(_same(name, other) for other in asked)]
    return list(dict.fromkeys([*asked, *declared]))


def _same(declared: str, asked: str) -> bool:
    return declared in (asked, asked.removesuffix("/default"))


def _no_adapter(plan: Plan, model: schema.Model, adapter: str) -> Problem:
    reference = model.adapters.get(adapter) or model.adapters.get(adapter.removesuffix("/default"))
    if reference:
        what = f"the adapter {adapter} of {model.name} is not at {reference}"
        return Problem("adapter_missing", what, _config(plan), hint="give the folder that holds adapter_config.json")
    names = ", ".join(model.adapters) or "none"
    user = next(c for c in plan.conditions if c.amplification and adapter in {s.id for s in c.amplification.adapters})
    what = (
        f"the condition {user.name} asks for the adapter {adapter}, which {model.name} does not have (it has {names})"
    )
    hint = f"add it to the `adapters` of {model.name}, or correct `organism_name` in the condition"
    return Problem("adapter_missing", what, str(user.path), hint=hint)


def _fit(plan: Plan, model: schema.Model, folder: Path | None, found: AdapterCard) -> Iterator[Problem]:
    """Whether an adapter belongs to a model: by the id it was trained on, and by its shapes."""
    misfits = fit(found, folder).problems if folder else ()
    others = {other.id for other in plan.models if other.name != model.name}
    if found.base and found.base not in (model.id, model.path):
        what = f"the adapter of {model.name} was trained on {found.base}; the plan calls the model {model.id}"
        if not misfits and same_model(plan.root, found.base, model.id):
            what = f"{what}: two ids of the same weights, as {FILE} says"
            yield Problem("model_alias", what, _config(plan), level="warning")
        elif misfits or found.base in others:
            why = f"{what}, and it does not fit" if misfits else what
            hint = f"give {model.name} an adapter of its own in `adapters`"
            yield Problem("adapter_of_another_model", why, str(found.path), hint=hint)
        else:
            remedy = {"set": {f"models.{model.name}.id": found.base}}
            yield Problem("model_id_mismatch", what, _config(plan), remedy)
    elif misfits:
        yield Problem("adapter_misfit", f"the adapter does not fit {model.name}: {misfits[0]}", str(found.path))


def _layers(plan: Plan, model: schema.Model) -> Iterator[Problem]:
    try:
        layers = num_layers(plan, model)
    except PlanError as error:
        yield Problem("model_not_local", error.what, _config(plan), level="warning")
        return
    weights: dict[str, LayerWeights] = {}
    for condition in plan.conditions:
        if condition.amplification is None or not condition.amplification.adapters:
            continue
        try:
            resolved = condition.amplification.resolve(layers)
        except AmplificationError as error:
            yield _out_of_range(model, condition, error)
            continue
        if len(resolved) > 1:
            what = f"the condition {condition.name} names {len(resolved)} adapters: only one can be served at a time"
            yield Problem("several_adapters", what, str(condition.path), hint="write one condition file per adapter")
        weights[condition.name] = next(iter(resolved.values()))
    yield from _suspicions(plan, model, weights)


def _out_of_range(model: schema.Model, condition: Condition, error: AmplificationError) -> Problem:
    what = f"the condition {condition.name} does not fit {model.name}: {error.what}"
    return Problem("layer_out_of_range", what, str(error.where or condition.path), hint=error.hint)


def _range_name(condition: Condition) -> Iterator[Problem]:
    """A name that says where a condition acts, and its file says otherwise: figures show what the file says."""
    amplification = condition.amplification
    if amplification is None or not amplification.adapters:
        return
    acts = depth(amplification)
    if is_as_named(condition.name, acts) is False:
        what = f"the condition {condition.name} acts in {acts or 'no single range of layers'}, not where its name says"
        yield Problem("range_name", what, str(condition.path), level="warning", hint="name it by what it does")


def _suspicions(plan: Plan, model: schema.Model, weights: dict[str, LayerWeights]) -> Iterator[Problem]:
    ranges = {name: weights[name] for name in plan.ranges if name in weights}
    found: list[tuple[Code, list[str]]] = [
        ("same_weights", same_weights(weights)),
        ("overlap", overlaps(ranges)),
        ("flat_weights", flat_weights(ranges)),
    ]
    for code, sentences in found:
        for text in sentences:
            yield Problem(code, f"{text} ({model.name})", _config(plan), level="warning")

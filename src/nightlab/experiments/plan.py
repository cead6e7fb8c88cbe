"""A plan: an experiment's config.yaml with the prompts and conditions it names, read and checked as a whole.

A mistake is one PlanError (PromptError, AmplificationError) sentence with the file, the key and the nearest valid one.
Nothing here needs the models or adapters to be there: check.py looks at those before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nightlab.adapters.amplification import Amplification
from nightlab.errors import AmplificationError, LabError, PlanError, nearest
from nightlab.experiments import schema
from nightlab.experiments.mistakes import sentence
from nightlab.experiments.predictions import Hypothesis, names_used
from nightlab.experiments.prompts import Prompt, load_prompts
from nightlab.files import parse_yaml, read_text
from nightlab.lab import Lab

CONFIG = "config.yaml"
BASE = "base"
PRACTICE = "practice:"


@dataclass(frozen=True)
class Condition:
    """A named way to treat a model: an amplification, or none for `base`."""

    name: str
    path: Path | None
    amplification: Amplification | None


@dataclass(frozen=True)
class Plan:
    """What will be asked: the configuration, and the conditions and prompts it names, in their canonical order."""

    folder: Path
    root: Path
    config: schema.Config
    conditions: tuple[Condition, ...]
    prompts: tuple[Prompt, ...]

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """The plan of an experiment folder. Raises PlanError, PromptError, AmplificationError."""
        path = folder / CONFIG
        return cls.parse(read_text(path, PlanError), folder)

    @classmethod
    def parse(cls, text: str, folder: Path) -> Plan:
        """The plan that `text` would be as the config.yaml of a folder; see load."""
        folder = folder.resolve()
        path, root = folder / CONFIG, _lab_root(folder)
        config = _config(text, path)
        places = [_place(name, folder, root) for name in _listed(config.factors.conditions)]
        conditions = _conditions(places, config.factors.include_base, path)
        prompts = load_prompts(_place(name, folder, root) for name in _listed(config.factors.prompts))
        if not prompts:
            raise PlanError("the factor `prompts` is empty", where=path, hint="name a prompt file or a folder of them")
        plan = cls(folder, root, config, conditions, tuple(prompts))
        _check_names(plan, path)
        return plan

    @property
    def name(self) -> str:
        """The name of the experiment: its folder's."""
        return self.folder.name

    @property
    def question(self) -> str:
        """What the experiment asks."""
        return self.config.question

    @property
    def models(self) -> list[schema.Model]:
        """The models, in the order of the plan."""
        return self.config.factors.models

    @property
    def replicates(self) -> int:
        """How many times each cell of model, condition and prompt is asked, of an adaptive plan at most."""
        return max(self.config.factors.replicates, self.config.stop.max_replicates or 1)

    @property
    def sampling(self) -> schema.Sampling:
        """How the models sample."""
        return self.config.sampling

    @property
    def judge(self) -> schema.JudgeSpec:
        """Who scores the samples, and by which rubric."""
        return self.config.judge

    @property
    def rubric(self) -> Path:
        """The rubric's file."""
        return self.resolve(self.judge.rubric)

    @property
    def ranges(self) -> list[str]:
        """The ordered conditions that figures and peak predictions run over."""
        return self.config.ranges

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """The hypotheses with their predictions."""
        return self.config.hypotheses

    @property
    def exclude(self) -> list[schema.Exclusion]:
        """Which samples the analysis leaves out."""
        return self.config.exclude

    @property
    def stop(self) -> schema.Stop:
        """When a server's share of the sweep is given up."""
        return self.config.stop

    @property
    def serving(self) -> schema.Serving:
        """How the models are served."""
        return self.config.serving

    def model(self, name: str) -> schema.Model:
        """The model of a short name. Raises PlanError naming the nearest."""
        for model in self.models:
            if model.name == name:
                return model
        raise _unknown("model", name, [model.name for model in self.models], self.folder / CONFIG)

    def resolve(self, reference: str) -> Path:
        """The path of a reference: `practice:...`, absolute, or relative to the plan or the lab's root. Raises
        PlanError.
        """
        return _place(reference, self.folder, self.root)


def _lab_root(folder: Path) -> Path:
    try:
        return Lab.find(folder).root
    except LabError:
        return folder


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _place(reference: str, folder: Path, root: Path) -> Path:
    if reference.startswith(PRACTICE):
        from nightlab import practice

        try:
            return practice.resolve(reference)
        except ValueError as error:
            raise PlanError(str(error), where=folder / CONFIG) from None
    own = folder / Path(reference).expanduser()
    return own if own.exists() or not (root / reference).exists() else root / reference


def _config(text: str, path: Path) -> schema.Config:
    data = parse_yaml(text, path, PlanError)
    if not isinstance(data, dict):
        raise PlanError("a plan must be a mapping", where=path, hint="it begins with `question:` and `factors:`")
    try:
        return schema.Config.model_validate(data)
    except ValidationError as error:
        what, hint = sentence(error, schema.Config)
        raise PlanError(what, where=path, hint=hint) from None


def _conditions(places: Sequence[Path], include_base: bool, config: Path) -> tuple[Condition, ...]:
    """`base` first, then each place's files; a folder's are sorted by name. Raises PlanError, AmplificationError."""
    found = [Condition(BASE, None, None)] if include_base else []
    for place in places:
        loaded = [_condition(path) for path in _condition_files(place, config)]
        found += sorted(loaded, key=lambda condition: condition.name)
    seen: dict[str, Condition] = {}
    for condition in found:
        if condition.name in seen:
            other = seen[condition.name].path or "the plan adds `base` itself (include_base)"
            raise AmplificationError(
                f"two conditions are named {condition.name!r}", where=condition.path, hint=f"the other one: {other}"
            )
        seen[condition.name] = condition
    if not found:
        raise PlanError("the factor `conditions` is empty", where=config, hint="add a condition file, or include_base")
    return tuple(found)


def _condition(path: Path) -> Condition:
    amplification = Amplification.load(path)
    if amplification.name == BASE and amplification.adapters:
        hint = "give the condition another name; a plan adds `base` itself (include_base)"
        raise AmplificationError("`base` is the model without an adapter", where=path, hint=hint)
    return Condition(amplification.name, path, amplification)


def _condition_files(place: Path, config: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if place.is_dir():
        return sorted(p for p in place.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
    beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    close = nearest(place.name, beside)
    hint = f"did you mean {close}?" if close else "make it, or name another one in `factors.conditions`"
    raise PlanError(f"`factors.conditions` names {place.name}, which does not exist", where=config, hint=hint)


def _check_names(plan: Plan, path: Path) -> None:
    """Every name a plan speaks of is one of its own. Raises PlanError naming the nearest."""
    names = [model.name for model in plan.models]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"two models are named {name!r}", where=path, hint="give one of them another `name`")
    for name in plan.ranges:
        _expect("condition", name, plan, path, "`ranges`")
    ids = [hypothesis.id for hypothesis in plan.hypotheses]
    for hypothesis in plan.hypotheses:
        if ids.count(hypothesis.id) > 1:
            raise PlanError(f"two hypotheses have the id {hypothesis.id!r}", where=path)
        for factor, name in names_used(hypothesis.prediction):
            _expect(factor, name, plan, path, f"hypothesis {hypothesis.id}")
        if hypothesis.prediction.kind in ("peak", "diffuse", "same_peak", "trend"):
            _check_among(hypothesis, plan, path)
    _check_order(plan, path)
    _check_looks(plan, path)
    for number, rule in enumerate(plan.exclude):
        _check_exclusion(rule, f"`exclude[{number}]`", plan, path)


def _check_order(plan: Plan, path: Path) -> None:
    rule, ids = plan.config.multiplicity, [hypothesis.id for hypothesis in plan.hypotheses]
    order = rule.sequence if isinstance(rule, schema.InOrder) else ids
    for name in (*order, *ids):
        if name not in ids:
            raise _unknown("hypothesis", name, ids, path, "`multiplicity.sequence`")
        if order.count(name) != 1:
            raise PlanError(f"`multiplicity.sequence` names {name} {order.count(name)} times, not once", where=path)


def _check_looks(plan: Plan, path: Path) -> None:
    stop, first = plan.config.stop, plan.config.factors.replicates
    if stop.max_replicates is None:
        if stop.ci_width is not None:
            hint = "add `max_replicates`, how often a group is asked at most"
            raise PlanError("`stop.ci_width` alone decides nothing", where=path, hint=hint)
        return
    if stop.max_replicates <= first:
        hint = "`factors.replicates` is what every group gets, `stop.max_replicates` the most"
        raise PlanError(f"`stop.max_replicates` is not above the {first} of every group", where=path, hint=hint)
    if not plan.hypotheses:
        hint = "write the hypotheses that the replicates are to decide"
        raise PlanError("`stop.max_replicates` has no hypothesis to decide", where=path, hint=hint)


def _check_exclusion(rule: schema.Exclusion, who: str, plan: Plan, path: Path) -> None:
    named = rule.model_dump(exclude_none=True)
    if not named:
        raise PlanError(f"{who} names nothing to leave out", where=path, hint="for example: {finish_reason: length}")
    for factor in ("model", "condition", "prompt", "category"):
        if factor in named:
            _expect(factor, named[factor], plan, path, who)
    if named.get("replicate", 0) not in range(plan.replicates):
        hint = f"replicates are counted from 0 to {plan.replicates - 1}"
        raise PlanError(f"{who} speaks of replicate {named['replicate']}", where=path, hint=hint)


def _check_among(hypothesis: Hypothesis, plan: Plan, path: Path) -> None:
    prediction = hypothesis.prediction
    among = getattr(prediction, "among", None) or plan.ranges
    if len(among) < 2:
        hint = "list the ordered conditions under `ranges`, or give the prediction's `among`"
        raise PlanError(f"hypothesis {hypothesis.id} has fewer than two ranges to compare", where=path, hint=hint)
    expect = getattr(prediction, "expect", None)
    if expect is not None and expect not in among:
        raise _unknown("range", expect, among, path, f"hypothesis {hypothesis.id}")


def _expect(factor: str, name: str, plan: Plan, path: Path, who: str) -> None:
    levels: dict[str, Iterable[str]] = {
        "model": (model.name for model in plan.models),
        "condition": (condition.name for condition in plan.conditions),
        "prompt": (prompt.name for prompt in plan.prompts),
        "category": {prompt.category for prompt in plan.prompts},
    }
    known = list(levels[factor])
    if name not in known:
        raise _unknown(factor, name, known, path, who)


def _unknown(factor: str, name: str, known: Sequence[str], path: Path, who: str = "the plan") -> PlanError:
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
    return PlanError(f"{who} speaks of the {factor} {name!r}, which the plan does not have", where=path, hint=hint)

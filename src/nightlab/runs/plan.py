"""A plan of `kind: run`: a command as an argv list, the parameters it is varied over, and what is measured.

The command is data: no shell reads it. `{name}` in an argument is replaced by a parameter's value, by `{seed}` (the
plan's seed plus the replicate), `{replicate}`, `{out}` (the run's own folder, the only one it may write) or `{folder}`
(the experiment's). `nightlab` and `python` as the first word are this program and its interpreter.

    kind: run
    command: [nightlab, train, --model, practice:llama, --data, "{folder}/chats.jsonl", --rank, "{rank}", --json, ...]
    parameters: {rank: [2, 4, 8]}
    replicates: 3
    metrics: {held_out_loss: minimise}
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nightlab.errors import LabError, PlanError, nearest
from nightlab.experiments.mistakes import sentence
from nightlab.experiments.plan import CONFIG
from nightlab.experiments.predictions import Name, Record
from nightlab.experiments.schema import Label
from nightlab.files import parse_yaml, read_text, sha256_file, sha256_json
from nightlab.lab import Lab

KEY_DIGITS = 24
STDOUT = "stdout"
RESERVED = ("seed", "replicate", "out", "folder")
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

Scalar = bool | int | float | Annotated[str, Field(min_length=1)]
Params = dict[str, Scalar]
Goal = Literal["minimise", "maximise", "watch"]


class Search(Record):
    """Keep or discard: from the baseline, one parameter is changed at a time; a change is kept where it is better.

    Better is a gain above `keep_above` times the noise floor, which is the spread (1.4826 times the median absolute
    deviation) of the baseline's repeats.
    """

    metric: Name
    baseline: Params
    repeats: int = Field(default=5, ge=3)
    keep_above: float = Field(default=2.0, gt=0)
    rounds: int = Field(default=2, ge=1)


class Greater(Record):
    """The mean of a metric at `left` exceeds that at `right` by at least `by`; runs are paired by their replicate."""

    kind: Literal["greater"] = "greater"
    metric: Name
    left: Params = Field(min_length=1)
    right: Params = Field(min_length=1)
    by: float = 0.0


class RunHypothesis(Record):
    """A statement for people and its prediction for code."""

    id: Name
    statement: Name
    prediction: Greater


class RunStop(Record):
    """When the whole grid is given up."""

    max_identical_failures: int = Field(default=3, ge=1)


class RunConfig(Record):
    """The whole of a config.yaml of `kind: run`."""

    question: Name
    kind: Literal["run"]
    command: list[Name] = Field(min_length=1)
    parameters: dict[Label, Annotated[list[Scalar], Field(min_length=1)]] = Field(min_length=1)
    replicates: int = Field(default=1, ge=1)
    seed: int = 0
    env: dict[str, str] = Field(default_factory=dict)
    inputs: list[Name] = Field(default_factory=list)
    metrics: dict[Name, Goal] = Field(min_length=1)
    metrics_from: Name = STDOUT
    artefacts: list[Name] = Field(default_factory=list)
    timeout_seconds: float = Field(default=600, gt=0)
    memory_gb: float = Field(default=4, gt=0)
    gpus: int = Field(default=0, ge=0)
    max_parallel: int = Field(default=1, ge=1)
    search: Search | None = None
    hypotheses: list[RunHypothesis] = Field(default_factory=list)
    stop: RunStop = RunStop()

    def frozen(self) -> dict[str, Any]:
        """What the plan's hash covers: all but how many runs go side by side, and GPUs where it asks for none."""
        return self.model_dump(mode="json", exclude={"max_parallel", *(() if self.gpus else ("gpus",))})


@dataclass(frozen=True)
class RunCell:
    """One run: its parameters and replicate; the key follows from everything that could change its result."""

    key: str
    params: Mapping[str, Scalar]
    replicate: int
    seed: int

    @property
    def label(self) -> str:
        """The parameters for people."""
        return ", ".join(f"{name} {value}" for name, value in self.params.items())


@dataclass(frozen=True)
class RunPlan:
    """A plan of `kind: run` in its folder, checked as a whole."""

    folder: Path
    root: Path
    config: RunConfig

    @classmethod
    def load(cls, folder: Path) -> RunPlan:
        """The plan of an experiment folder. Raises PlanError."""
        return cls.parse(read_text(folder / CONFIG, PlanError), folder)

    @classmethod
    def parse(cls, text: str, folder: Path) -> RunPlan:
        """The plan that `text` would be as the config.yaml of a folder. Raises PlanError."""
        folder = folder.resolve()
        path = folder / CONFIG
        try:
            config = RunConfig.model_validate(parse_yaml(text, path, PlanError))
        except ValidationError as error:
            what, hint = sentence(error, RunConfig)
            raise PlanError(what, where=path, hint=hint) from None
        _check(config, path)
        try:
            root = Lab.find(folder).root
        except LabError:
            root = folder
        return cls(folder, root, config)

    @property
    def name(self) -> str:
        """The name of the experiment: its folder's."""
        return self.folder.name

    @property
    def question(self) -> str:
        """What the experiment asks."""
        return self.config.question

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The hash of every input file. Raises PlanError for one that is not there."""
        found = {}
        for name in self.config.inputs:
            path = next((p for p in (self.folder / name, self.root / name) if p.is_file()), None)
            if path is None:
                hint = "`inputs` are files, relative to the experiment or to the lab"
                raise PlanError(f"the input {name} is not there", where=self.folder / CONFIG, hint=hint)
            found[name] = sha256_file(path)
        return found

    def cell(self, params: Mapping[str, Scalar], replicate: int, inputs: Mapping[str, str] | None = None) -> RunCell:
        """The run of some parameters; `inputs` are the hashes that it was frozen with, else those of now."""
        config = self.config
        content = {
            "run": config.command,
            "env": config.env,
            "metrics_from": config.metrics_from,
            "inputs": dict(self.inputs if inputs is None else inputs),
            "params": dict(params),
            "seed": config.seed,
            "replicate": replicate,
        }
        return RunCell(sha256_json(content)[:KEY_DIGITS], dict(params), replicate, config.seed + replicate)

    def grid(self, inputs: Mapping[str, str] | None = None) -> list[RunCell]:
        """All runs of the full grid, in order: by the parameters as the plan lists them, then the replicate."""
        points = [dict(zip(self.config.parameters, point, strict=True)) for point in _points(self.config)]
        return [self.cell(point, number, inputs) for point in points for number in range(self.config.replicates)]

    def argv(self, cell: RunCell, out: Path) -> list[str]:
        """The command of a run."""
        values = {**cell.params, "seed": cell.seed, "replicate": cell.replicate, "out": out, "folder": self.folder}
        words = [_PLACE.sub(lambda found: spelled(values[found[1]]), word) for word in self.config.command]
        ours = {"nightlab": [sys.executable, "-P", "-m", "nightlab"], "python": [sys.executable]}
        return [*ours.get(words[0], [words[0]]), *words[1:]]

    def out(self, cell: RunCell) -> Path:
        """The folder of a run: its spec, log, result and everything that it writes."""
        return self.folder / "runs" / cell.key


def kind_of(folder: Path) -> Literal["sample", "run"]:
    """The kind of an experiment by its config.yaml; `sample` where it does not say. Raises PlanError."""
    data = parse_yaml(read_text(folder / CONFIG, PlanError), folder / CONFIG, PlanError)
    return "run" if isinstance(data, dict) and data.get("kind") == "run" else "sample"


def _points(config: RunConfig) -> Iterator[Sequence[Scalar]]:
    return itertools.product(*config.parameters.values())


def spelled(value: object) -> str:
    """A parameter's value as a command gets it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(config: RunConfig, path: Path) -> None:
    """Every name that a plan speaks of is one of its own. Raises PlanError naming the nearest."""
    known = [*config.parameters, *RESERVED]
    for name in config.parameters:
        if name in RESERVED:
            raise PlanError(f"a parameter cannot be called {name!r}", where=path, hint=f"{name} has its own meaning")
    for word in config.command:
        for name in _PLACE.findall(word):
            _expect(name, known, "the command", "value", path)
    used = {name for word in config.command for name in _PLACE.findall(word)}
    for name in config.parameters:
        if name not in used:
            what = f"the parameter {name!r} changes nothing: the command does not use it"
            raise PlanError(what, where=path, hint=f"write {{{name}}} where its value belongs")
    if config.metrics_from != STDOUT and (Path(config.metrics_from).is_absolute() or ".." in config.metrics_from):
        hint = "the name of a JSON file in the run's folder, or stdout"
        raise PlanError("`metrics_from` leads out of the run's folder", where=path, hint=hint)
    if config.search is not None:
        _expect(config.search.metric, config.metrics, "`search`", "metric", path)
        if config.metrics[config.search.metric] == "watch":
            hint = f"write `{config.search.metric}: minimise` or `maximise` under metrics"
            raise PlanError("`search` needs a metric with a direction", where=path, hint=hint)
        if set(config.search.baseline) != set(config.parameters):
            hint = "it gives a value to every parameter"
            raise PlanError("`search.baseline` does not fit the parameters", where=path, hint=hint)
        _check_point(config.search.baseline, config, "`search.baseline`", path)
    for hypothesis in config.hypotheses:
        who = f"hypothesis {hypothesis.id}"
        _expect(hypothesis.prediction.metric, config.metrics, who, "metric", path)
        for side in (hypothesis.prediction.left, hypothesis.prediction.right):
            _check_point(side, config, who, path)


def _check_point(point: Params, config: RunConfig, who: str, path: Path) -> None:
    for name, value in point.items():
        _expect(name, config.parameters, who, "parameter", path)
        if value not in config.parameters[name]:
            shown = ", ".join(map(str, config.parameters[name]))
            raise PlanError(
                f"{who} speaks of {name} {value}, which is no level of it", where=path, hint=f"known: {shown}"
            )


def _expect(name: str, known: Sequence[str] | Mapping[str, object], who: str, what: str, path: Path) -> None:
    if name not in known:
        close = nearest(name, list(known))
        hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
        raise PlanError(f"{who} speaks of the {what} {name!r}, which the plan does not have", where=path, hint=hint)

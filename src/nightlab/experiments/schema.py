"""The form of config.yaml: strict, immutable, every default visible here. Reading and cross-checking is plan.py's."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from nightlab.experiments.predictions import Hypothesis, Name, Record

Label = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class Model(Record):
    """A model under study: its short name, its id, where its weights are, and an adapter for each organism."""

    name: Label
    id: Name
    path: Name | None = None
    revision: Name | None = None
    adapters: dict[str, Name] = Field(default_factory=dict)


class Factors(Record):
    """What is varied; a plan's cells are the product of these."""

    models: list[Model] = Field(min_length=1)
    conditions: Name | list[Name] = "conditions"
    include_base: bool = True
    prompts: Name | list[Name] = "prompts"
    replicates: int = Field(default=1, ge=1)


class Sampling(Record):
    """How a model samples; each cell's own seed is derived from `seed` and everything else that makes the cell."""

    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=200, ge=1)
    seed: int = 0
    stop: list[Name] = Field(default_factory=list)


class Reader(Record):
    """A judge: who it is, how it is asked, and how many samples it sees in one request.

    `model` and `effort` default to those of agents/judge.md. `transport` cannot change a score, so it may still be
    changed after the freeze.
    """

    by: Literal["markers", "claude", "openai"] = "markers"
    model: Name | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    transport: Literal["auto", "batch", "calls"] = "auto"
    per_packet: int = Field(default=1, ge=1, le=20)


class SecondJudge(Reader):
    """A judge that scores a share of the samples again: it measures agreement, and its scores are no results."""

    share: float = Field(default=1.0, gt=0, le=1)


class JudgeSpec(Reader):
    """Who scores the samples, by which rubric, how often, and what is tried before the whole is paid for.

    `pilot`: so many samples of each stratum (model and condition) are judged first; then the judging waits
    `pilot_minutes` for a reply. `mask`: names that would tell a judge the treatment are struck out of the texts.
    """

    rubric: Name = "rubric.md"
    repeats: int = Field(default=1, ge=1)
    pilot: int = Field(default=3, ge=0, le=20)
    pilot_minutes: float = Field(default=10.0, ge=0)
    mask: bool = False
    second: SecondJudge | None = None


class Stop(Record):
    """When a server's share of a sweep is given up, and when a group has enough replicates (see looks.py).

    With `max_replicates` only groups whose hypothesis is undecided, and whose interval is wider than `ci_width`, are
    asked more often than `factors.replicates` says.
    """

    max_identical_failures: int = Field(default=5, ge=1)
    max_replicates: int | None = Field(default=None, ge=2)
    ci_width: float | None = Field(default=None, gt=0)
    look_every: int = Field(default=1, ge=1)


class Serving(Record):
    """How the models are served; what an engine does not know of these it is not told.

    Not part of a cell's identity, so it may still be changed after the freeze; the lock keeps what was declared, each
    server's manifest what it ran with, and every difference is a deviation in the report.
    """

    engine: Literal["embedded", "vllm"] | None = None
    """None: the lab's setting."""
    port: int = Field(default=0, ge=0, le=65535)
    keep: Name | None = None
    """How long the end of a night leaves its servers running for the next one, such as 2h."""
    resources: dict[Name, Name] = Field(default_factory=dict)
    """What a queue is asked for: partition, account, qos, gres, time, flags; the lab's settings fill in the rest."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Tokens of a prompt and its answer together; None: enough for the longest prompt of the plan."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    device: Name | None = None
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    tensor_parallel: int | None = Field(default=None, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_loras: int | None = Field(default=None, ge=1)
    """Adapters that one batch may mix; None: every condition. Fewer take less GPU memory, and answer more slowly."""
    max_cpu_loras: int | None = Field(default=None, ge=1)
    """Adapters in the server's memory, at least a batch's; None: all. What is dropped is read from disk again."""
    enforce_eager: bool | None = None
    threads: int | None = Field(default=None, ge=1)
    cpu_kv_gib: int | None = Field(default=None, ge=1)
    extra: list[Name] = Field(default_factory=list)
    """Further words of the server's command line."""

    @model_validator(mode="after")
    def _memory_holds_a_batch(self) -> Self:
        if self.max_loras and self.max_cpu_loras and self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras {self.max_cpu_loras} is below max_loras {self.max_loras}")
        return self

    def options(self) -> dict[str, str | int | float | bool]:
        """What is given for the engine."""
        return self.model_dump(exclude_none=True, exclude={"engine", "port", "extra", "resources", "keep"})

    def declared(self) -> dict[str, Any]:
        """What may change an answer, as a JSON value: not where the servers run, nor how long."""
        return self.model_dump(mode="json", exclude={"port", "resources", "keep"})


class Exclusion(Record):
    """Samples that match every given field are left out of the analysis, and counted there."""

    model: Name | None = None
    condition: Name | None = None
    prompt: Name | None = None
    category: Name | None = None
    replicate: int | None = None
    finish_reason: Name | None = None

    def matches(self, row: dict[str, object]) -> bool:
        """Whether a sample's row has every value that is given here."""
        given = self.model_dump(exclude_none=True)
        return bool(given) and all(row.get(name) == value for name, value in given.items())


class Expected(Record):
    """The effect that a plan is made for, and the noise it expects, in points of the scale: its power is simulated."""

    effect: float = Field(gt=0)
    between: float = Field(ge=0)
    within: float = Field(ge=0)


SHORTEST_REASON = 10  # characters
OLD_REASON = "the plan was frozen before a reason was asked for"


class InOrder(Record):
    """Hypotheses are tested one after another, each at the whole error, up to the first that stays undecided."""

    sequence: list[Name] = Field(min_length=1)


class Uncorrected(Record):
    """Hypotheses are not corrected for one another, for a reason that the report gives."""

    none: Name


def _known_rule(value: object) -> object:
    """One of the three ways, or one sentence that names them: the errors of a union name none."""
    match value:
        case "holm" | InOrder() | Uncorrected():
            return value
        case "report":  # the word of plans that were frozen before; a plan that is not is refused (check.py)
            return Uncorrected(none=OLD_REASON)
        case {"sequence": [*order], **rest} if order and not rest and all(isinstance(name, str) for name in order):
            return InOrder(sequence=order)
        case {"none": str(why), **rest} if len(why.strip()) >= SHORTEST_REASON and not rest:
            return Uncorrected(none=why)
    raise ValueError("must be holm, {sequence: [H2, H1, ...]} or {none: a sentence that says why nothing is corrected}")


Multiplicity = Annotated[Literal["holm"] | InOrder | Uncorrected, BeforeValidator(_known_rule)]


class Config(Record):
    """The whole of config.yaml."""

    question: Name
    kind: Literal["sample"] = "sample"
    factors: Factors
    sampling: Sampling = Sampling()
    judge: JudgeSpec = JudgeSpec()
    ranges: list[Name] = Field(default_factory=list)
    hypotheses: list[Hypothesis] = Field(default_factory=list)
    multiplicity: Multiplicity = "holm"
    expected: Expected | None = None
    analyses: list[Name] = Field(default_factory=list)
    """Queries that the report will ask besides the hypotheses; every other one in its prose is exploratory."""
    exclude: list[Exclusion] = Field(default_factory=list)
    stop: Stop = Stop()
    serving: Serving = Serving()

    def frozen(self) -> dict[str, Any]:
        """What the freeze covers, as a JSON value: everything that can change an answer or its score."""
        judge: dict[str, Any] = {"transport": True, "pilot_minutes": True, "second": {"transport": True}}
        return self.model_dump(mode="json", exclude={"serving": True, "judge": judge})

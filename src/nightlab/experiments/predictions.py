"""What a hypothesis predicts, in a form that code can check; the evidence room evaluates it.

Ranges are the ordered conditions of the plan's `ranges`; `among` narrows them for one prediction.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Factor = Literal["model", "condition", "prompt", "category"]
Where = dict[Factor, str]
Name = Annotated[str, Field(min_length=1)]


class Record(BaseModel):
    """A strict, immutable part of a plan."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Peak(Record):
    """The range with the highest mean of a dimension, in one model."""

    kind: Literal["peak"]
    dimension: Name
    model: Name
    expect: Name
    among: list[Name] | None = None


class Diffuse(Record):
    """No range stands out (their means lie within `max_spread`), and all lie above a condition by at least `by`."""

    kind: Literal["diffuse"]
    dimension: Name
    model: Name
    among: list[Name] | None = None
    max_spread: float = Field(default=3.0, gt=0)
    above: Name = "base"
    by: float = 0.5


class Greater(Record):
    """The mean at `left` exceeds the mean at `right` by at least `by`, in each level of the factor `each`."""

    kind: Literal["greater"]
    dimension: Name
    left: Where = Field(min_length=1)
    right: Where = Field(min_length=1)
    by: float = 0.0
    each: Factor | None = None


class Below(Record):
    """The mean at `where` is below a value."""

    kind: Literal["below"]
    dimension: Name
    where: Where = Field(min_length=1)
    than: float


class SamePeak(Record):
    """The named models peak in one and the same range."""

    kind: Literal["same_peak"]
    dimension: Name
    models: list[Name] = Field(min_length=2)
    among: list[Name] | None = None


class Trend(Record):
    """From each range to the next the mean goes one way, in one model."""

    kind: Literal["trend"]
    dimension: Name
    model: Name
    direction: Literal["increasing", "decreasing"]
    among: list[Name] | None = None


Prediction = Annotated[Peak | Diffuse | Greater | Below | SamePeak | Trend, Field(discriminator="kind")]


class Hypothesis(Record):
    """A statement for people and its prediction for code."""

    id: Name
    statement: Name
    prediction: Prediction


def names_used(prediction: Prediction) -> list[tuple[Factor, str]]:
    """Every level of a factor that a prediction speaks of, as (factor, name)."""
    match prediction:
        case Peak():
            return [("model", prediction.model), *_conditions([prediction.expect, *(prediction.among or [])])]
        case Diffuse():
            return [("model", prediction.model), *_conditions([prediction.above, *(prediction.among or [])])]
        case Greater():
            return [*prediction.left.items(), *prediction.right.items()]
        case Below():
            return list(prediction.where.items())
        case Trend():
            return [("model", prediction.model), *_conditions(prediction.among or [])]
        case SamePeak():
            return [*(("model", name) for name in prediction.models), *_conditions(prediction.among or [])]


def _conditions(names: list[str]) -> list[tuple[Factor, str]]:
    return [("condition", name) for name in names]

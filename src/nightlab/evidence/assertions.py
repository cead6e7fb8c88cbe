"""What a claim asserts, as bounds of named quantities, and which claims of a lab cannot both hold.

A quantity is the mean of a dimension somewhere, or the difference of two means; models are named by their ids, so that
experiments can be compared. Two claims contradict each other where one says that a quantity lies above a value and the
other that it lies below it, or where the same prediction was supported once and contradicted once. Conditions count as
the same when their names are. Limits: a claim about several models at once asserts each of them; what a contradicted
`diffuse` or a `greater` over several levels leaves open is compared by the prediction alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightlab.evidence.design import Design
from nightlab.evidence.outcomes import range_groups
from nightlab.evidence.peaks import beats
from nightlab.evidence.predict import Verdict
from nightlab.evidence.table import Table
from nightlab.experiments.predictions import Below, Diffuse, Greater, Hypothesis, Peak, SamePeak, Trend
from nightlab.files import canonical, sha256_json

Place = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Assertion:
    """That a quantity lies within bounds: the mean at `left`, or (with `right`) the difference of two means."""

    dimension: str
    left: Place
    right: Place | None
    low: float
    high: float
    strict: bool = True

    def document(self) -> dict[str, Any]:
        """The assertion as claims.yaml holds it: `at_least` and `at_most` where there is such a bound."""
        bounds = {"at_least": self.low, "at_most": self.high}
        return {
            "dimension": self.dimension,
            "left": dict(self.left),
            **({"right": dict(self.right)} if self.right is not None else {}),
            **{name: bound for name, bound in bounds.items() if math.isfinite(bound)},
            "strict": self.strict,
        }

    def normal(self) -> Assertion:
        """The same with its places in a canonical order."""
        if self.right is None or self.left <= self.right:
            return self
        return Assertion(self.dimension, self.right, self.left, -self.high, -self.low, self.strict)

    @property
    def quantity(self) -> tuple[object, ...]:
        """What is bounded."""
        own = self.normal()
        return (own.dimension, own.left, own.right)

    def excludes(self, other: Assertion) -> bool:
        """Whether no value lies within both bounds of one quantity."""
        one, two = self.normal(), other.normal()
        if one.quantity != two.quantity:
            return False
        low, high = max(one.low, two.low), min(one.high, two.high)
        return low > high or (low == high and (one.strict or two.strict))


@dataclass(frozen=True)
class Against:
    """Another claim of the lab that contradicts one: its id as it is cited, its sentence, its n, and what clashes."""

    id: str
    sentence: str
    n: int
    what: str

    def document(self) -> dict[str, Any]:
        """The record as claims.yaml holds it."""
        return {"id": self.id, "sentence": self.sentence, "n": self.n, "what": self.what}


def assertions(table: Table, verdict: Verdict) -> tuple[Assertion, ...]:
    """What the claim of a decided hypothesis asserts."""
    prediction = table.design.hypothesis(verdict.id).prediction
    found = _supported(table, verdict) if verdict.verdict == "supported" else _contradicted(table, verdict)
    return tuple(Assertion(prediction.dimension, *parts) for parts in found)


_Parts = tuple[Place, "Place | None", float, float, bool]


def _supported(table: Table, verdict: Verdict) -> Iterator[_Parts]:
    design = table.design
    match design.hypothesis(verdict.id).prediction:
        case Peak() as prediction:
            ranges = prediction.among or design.ranges
            yield from _above_all(design, prediction.model, prediction.expect, ranges)
        case SamePeak() as prediction:
            for model, best in verdict.numbers["peaks"].items():
                yield from _above_all(design, model, best, prediction.among or design.ranges)
        case Diffuse() as prediction:
            places = [place(design, g) for g in range_groups(prediction.model, prediction.among or design.ranges)]
            above = place(design, {"model": prediction.model, "condition": prediction.above})
            for left, right in itertools.combinations(places, 2):
                yield left, right, -prediction.max_spread, prediction.max_spread, False
            yield from ((own, above, prediction.by, math.inf, False) for own in places)
        case Greater() as prediction:
            for one, other in zip(verdict.groups[::2], verdict.groups[1::2], strict=True):
                yield place(design, one), place(design, other), prediction.by, math.inf, False
        case Below() as prediction:
            yield place(design, prediction.where), None, -math.inf, prediction.than, True
        case Trend() as prediction:
            up = prediction.direction == "increasing"
            bounds = (0.0, math.inf) if up else (-math.inf, 0.0)
            places = [place(design, g) for g in range_groups(prediction.model, prediction.among or design.ranges)]
            yield from ((later, earlier, *bounds, True) for earlier, later in itertools.pairwise(places))


def _contradicted(table: Table, verdict: Verdict) -> Iterator[_Parts]:
    design = table.design
    match design.hypothesis(verdict.id).prediction:
        case Peak() as prediction:
            pair = range_groups(prediction.model, [verdict.numbers["peak"], prediction.expect])
            if beats(table.means(prediction.dimension, pair), 0, 1):
                yield place(design, pair[0]), place(design, pair[1]), 0.0, math.inf, True
        case Greater() as prediction if len(verdict.groups) == 2:
            left, right = verdict.groups
            yield place(design, left), place(design, right), -math.inf, prediction.by, True
        case Below() as prediction:
            yield place(design, prediction.where), None, prediction.than, math.inf, False
        case _:
            return


def _above_all(design: Design, model: str, best: str, ranges: Iterable[str]) -> Iterator[_Parts]:
    top = place(design, {"model": model, "condition": best})
    for other in ranges:
        if other != best:
            yield top, place(design, {"model": model, "condition": other}), 0.0, math.inf, True


def place(design: Design, where: Mapping[Any, object]) -> Place:
    """A selection of cells by names that mean the same in every experiment."""
    named = {str(factor): str(level) for factor, level in where.items()}
    if "model" in named:
        named["model"] = design.model_id(named["model"])
    return tuple(sorted(named.items()))


def prediction_hash(design: Design, hypothesis: Hypothesis) -> str:
    """The same for equal predictions about the same models, whatever the models are called."""
    data = hypothesis.prediction.model_dump(mode="json")
    for part in (data, data.get("left"), data.get("right"), data.get("where")):
        if isinstance(part, dict) and "model" in part:
            part["model"] = design.model_id(part["model"])
    if "models" in data:
        data["models"] = sorted(design.model_id(name) for name in data["models"])
    if data.get("each") == "model":
        data["each"] = sorted(design.model_id(name) for name in design.models)
    if "among" in data:
        data["among"] = data["among"] or list(design.ranges)
    return sha256_json(data)[:16]


def read_assertion(row: Mapping[str, Any]) -> Assertion:
    """An assertion from claims.yaml."""
    right = row.get("right")
    return Assertion(
        str(row["dimension"]),
        _place(row["left"]),
        None if right is None else _place(right),
        float(row.get("at_least", -math.inf)),
        float(row.get("at_most", math.inf)),
        bool(row.get("strict", True)),
    )


def _place(named: Mapping[str, Any]) -> Place:
    return tuple(sorted((str(factor), str(level)) for factor, level in named.items()))


def clash(claim: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """What two claims (as claims.yaml holds them) cannot both be right about; None where they can."""
    if claim.get("predicted") and claim.get("predicted") == other.get("predicted"):
        if {claim["verdict"], other["verdict"]} == {"supported", "contradicted"}:
            return "one prediction, supported once and contradicted once"
        return None
    pairs = itertools.product(claim.get("asserts") or (), other.get("asserts") or ())
    for one, two in ((read_assertion(a), read_assertion(b)) for a, b in pairs):
        if one.excludes(two):
            return f"{one.dimension}: {_said(one.normal())} against {_said(two.normal())}"
    return None


def _said(assertion: Assertion) -> str:
    places = [canonical(dict(where)) for where in (assertion.left, assertion.right) if where is not None]
    bounds = [f"at least {assertion.low:g}"] if math.isfinite(assertion.low) else []
    bounds += [f"at most {assertion.high:g}"] if math.isfinite(assertion.high) else []
    return f"{' minus '.join(places)} {' and '.join(bounds)}"


def contradictions(
    claims: Sequence[Mapping[str, Any]], others: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, tuple[Against, ...]]:
    """For each claim the claims of other experiments (by the name they are cited with) that contradict it."""
    found: dict[str, tuple[Against, ...]] = {}
    for claim in claims:
        against = [
            Against(f"{experiment}/{other['id']}", str(other["sentence"]), int(other.get("n", 0)), what)
            for experiment, rows in sorted(others.items())
            for other in rows
            if (what := clash(claim, other)) is not None
        ]
        if against:
            found[str(claim["id"])] = tuple(against)
    return found

"""The questions that report and claim templates may ask of the table: every number in a sentence is the answer to one
of them.

An unknown dimension, level, hypothesis or figure is a QueryError that names the nearest known one. Means pool over
prompts, their categories and replicates; pooling over anything else must be declared with `over=[...]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nightlab.evidence.design import FACTORS, QueryError, known_name
from nightlab.evidence.interaction import Interaction, find_interaction, interactions
from nightlab.evidence.markdown import Markdown, code
from nightlab.evidence.outcomes import range_groups
from nightlab.evidence.peaks import Peak, find_peak, find_spread, shared_level
from nightlab.evidence.predict import Verdict
from nightlab.evidence.sentences import ask
from nightlab.evidence.stats import Draws, Estimate, number
from nightlab.evidence.table import POOLED, SCORED, STATUSES, Table
from nightlab.evidence.trends import find_ranks, find_trend
from nightlab.files import canonical

COUNTS = ("n", "planned", "answered", "judged", "missing", "level", "statement", "verdict")
ANALYSES = (
    *("mean", "difference", "least", "ratio", "mixed", "interaction", "slope", "trend", "rank"),
    *("peak", "decided", "agreement", "runner_up", "lead", "share", "spread", "weakest", "gap"),
)


class Queries:
    """The vocabulary of templates over one table and its verdicts."""

    def __init__(self, table: Table, verdicts: Sequence[Verdict]) -> None:
        self._table = table
        self._design = table.design
        self._verdicts = {verdict.id: verdict for verdict in verdicts}
        self.asked: dict[str, str] = {}
        """The analyses that were asked for so far, by their content, as they stand in a template."""
        self._reversed: dict[str, Interaction] = {}
        self._told: set[str] = set()

    def vocabulary(self) -> dict[str, Callable[..., object]]:
        """Every query by its name in a template; what is asked is kept in `asked`."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {**counts, **{name: self._kept(name) for name in ANALYSES}}

    def _kept(self, name: str) -> Callable[..., object]:
        query: Callable[..., object] = getattr(self, name)

        def asked(*given: object, **named: object) -> object:
            self.asked[canonical([name, given, named])] = ask(name, *given, **named)[3:-3]
            return query(*given, **named)

        return asked

    def mean(self, dimension: str, *, over: Sequence[str] = POOLED, **where: object) -> Estimate:
        """The mean of the selected cells with its interval, n and planned."""
        return self._table.means(dimension, [where], over).estimate(0)

    def n(self, dimension: str | None = None, **where: object) -> int:
        """How many answers are scored (in a dimension, if one is named)."""
        if dimension is None:
            return self._table.count(SCORED, **where)
        scores = self._table.dimension(dimension)[self._table.mask(where)]
        return int((scores == scores).sum())

    def planned(self, **where: object) -> int:
        """How many cells were planned."""
        return self._table.count(**where)

    def answered(self, **where: object) -> int:
        """How many cells have an answer."""
        return self._table.answered(**where)

    def judged(self, **where: object) -> int:
        """How many cells have an answer that counts and is judged."""
        return self._table.count(SCORED, **where)

    def missing(self, **where: object) -> int:
        """How many planned cells do not count, for whatever reason."""
        return self._table.count(*(status for status in STATUSES if status != SCORED), **where)

    def difference(
        self, dimension: str, left: Mapping[str, object], right: Mapping[str, object], over: Sequence[str] = POOLED
    ) -> Estimate:
        """The mean at `left` minus the mean at `right`, paired by prompt."""
        self._look_into(dimension, left, right, over)
        return self._table.means(dimension, [left, right], over).difference(0, 1)

    def least(
        self, dimension: str, left: Mapping[str, object], right: Mapping[str, object], over: Sequence[str] = POOLED
    ) -> Markdown:
        """The difference of two means with its one-sided bound, and n."""
        self._look_into(dimension, left, right, over)
        found = self._table.means(dimension, [left, right], over).difference(0, 1, shared_level())
        return Markdown(f"{found.at_least()}, n={found.n} of {found.planned}")

    def ratio(
        self, dimension: str, left: Mapping[str, object], right: Mapping[str, object], over: Sequence[str] = POOLED
    ) -> Estimate:
        """The mean at `left` over the mean at `right`, paired by prompt."""
        self._look_into(dimension, left, right, over)
        return self._table.means(dimension, [left, right], over).ratio(0, 1)

    def mixed(self, dimension: str, left: str, right: str, model: str) -> Markdown:
        """The difference of two conditions of a model by a mixed-effects model with an intercept for each prompt."""
        from nightlab.evidence.mixed import fit

        sides = [{"model": model, "condition": name} for name in (left, right)]
        masks = [self._table.mask(where) for where in sides]
        scores = self._table.dimension(dimension)
        return Markdown(str(fit(scores, self._table.prompt_codes, masks[0], masks[1])))

    def interaction(
        self,
        dimension: str,
        left: Mapping[str, object],
        right: Mapping[str, object],
        factor: str,
        over: Sequence[str] = POOLED,
    ) -> Markdown:
        """Whether a difference that is pooled over a factor holds in each of its levels; names those it does not."""
        known_name("factor", factor, FACTORS, self._design.name)
        found = find_interaction(self._table, dimension, left, right, factor, over)
        self._told.add(_pooled(dimension, left, right, factor))
        return Markdown(str(found))

    def refuse_reversals(self) -> None:
        """Refuse a text that gives a pooled difference and not that some level reverses it. Raises QueryError."""
        for name, found in self._reversed.items():
            if name not in self._told:
                raise QueryError(
                    f"{found}, and the text does not say so",
                    where=self._design.name,
                    hint=f'say it beside the number: {{{{ interaction(dimension, left, right, "{found.factor}") }}}}',
                )

    def _look_into(
        self, dimension: str, left: Mapping[str, object], right: Mapping[str, object], over: Sequence[str]
    ) -> None:
        for found in interactions(self._table, dimension, left, right, over):
            if found.reversed:
                self._reversed[_pooled(dimension, left, right, found.factor)] = found

    def slope(self, dimension: str, model: str, among: Sequence[str] | None = None) -> Estimate:
        """How much the mean changes from one range to the next, by least squares over their order."""
        return self._ranges(dimension, model, among).slope()

    def trend(self, dimension: str, model: str, among: Sequence[str] | None = None) -> str:
        """Whether every step over the ranges is proven to go one way: increasing, decreasing or neither."""
        found = find_trend(self._ranges(dimension, model, among))
        return (found.proven if found else None) or "neither"

    def rank(self, dimension: str, model: str, condition: str, among: Sequence[str] | None = None) -> Markdown:
        """The place of a range among the others by its mean, with the places that resamples give it."""
        names = tuple(among or self._design.ranges)
        known_name("range", condition, names, self._design.name)
        ranks = find_ranks(self._ranges(dimension, model, among), names)
        if ranks is None:
            raise QueryError(f"no rank: a range of {model} has no scored answer", where=self._design.name)
        return Markdown(str(ranks[condition]))

    def peak(self, dimension: str, model: str, among: Sequence[str] | None = None) -> Markdown:
        """The range with the largest mean in a model."""
        return code(self._peak(dimension, model, among).best)

    def decided(self, dimension: str, model: str, among: Sequence[str] | None = None) -> bool:
        """Whether the range with the largest mean is proven to be above every other one."""
        return self._peak(dimension, model, among).decided

    def agreement(self, dimension: str, model: str, over: str = "dimension") -> Markdown:
        """In how many other dimensions (or categories: `over="category"`) a model's largest mean lies in one range with
        this one: `2 of 4`.
        """
        known_name("factor", over, ("dimension", "category"), self._design.name)
        top = self._top(dimension, model)
        if over == "category":
            found = [self._top(dimension, model, category) for category in self._design.levels["category"]]
        else:
            found = [self._top(name, model) for name in self._table.dimensions if name != dimension]
        return Markdown(f"{sum(1 for one in found if top is not None and one == top)} of {len(found)}")

    def runner_up(self, dimension: str, model: str, among: Sequence[str] | None = None) -> Markdown:
        """The range with the second largest mean in a model."""
        return code(self._peak(dimension, model, among).second)

    def lead(self, dimension: str, model: str, among: Sequence[str] | None = None) -> Markdown:
        """How far the largest mean is above the second, with its one-sided bound."""
        return Markdown(self._peak(dimension, model, among).lead.at_least())

    def share(self, dimension: str, model: str, condition: str, among: Sequence[str] | None = None) -> Markdown:
        """In how many resamples of the prompts a range has the largest mean, in per cent."""
        peak = self._peak(dimension, model, among)
        share = peak.share(known_name("range", condition, peak.ranges, self._design.name))
        return Markdown(f"{number(100 * share)} %")

    def spread(self, dimension: str, model: str, among: Sequence[str] | None = None) -> Markdown:
        """The largest minus the smallest mean over the ranges of a model, with its one-sided bound."""
        return Markdown(find_spread(self._ranges(dimension, model, among), 0.0).estimate.at_most())

    def weakest(self, dimension: str, model: str, above: str, among: Sequence[str] | None = None) -> Markdown:
        """The range with the smallest mean."""
        return code(self._gaps(dimension, model, above, among)[0])

    def gap(self, dimension: str, model: str, above: str, among: Sequence[str] | None = None) -> Markdown:
        """How far the weakest range is above a reference condition, with its one-sided bound."""
        return Markdown(self._gaps(dimension, model, above, among)[1].at_least())

    def verdict(self, hypothesis: str) -> str:
        """The verdict on a hypothesis: supported, contradicted or undecided."""
        return self._verdict(hypothesis).verdict

    def statement(self, hypothesis: str) -> str:
        """The statement of a hypothesis, as it was frozen."""
        return self._verdict(hypothesis).statement

    def level(self, name: str) -> Markdown:
        """The name of a factor's level, a dimension or a hypothesis, if there is one of that name."""
        levels = [str(level) for factor in FACTORS if factor != "replicate" for level in self._design.levels[factor]]
        return code(known_name("level", name, [*levels, *self._table.dimensions, *self._verdicts], self._design.name))

    def _verdict(self, hypothesis: str) -> Verdict:
        return self._verdicts[known_name("hypothesis", hypothesis, self._verdicts, self._design.name)]

    def _ranges(self, dimension: str, model: str, among: Sequence[str] | None) -> Draws:
        return self._table.means(dimension, range_groups(model, among or self._design.ranges))

    def _peak(self, dimension: str, model: str, among: Sequence[str] | None) -> Peak:
        peak = find_peak(self._ranges(dimension, model, among), tuple(among or self._design.ranges))
        if peak is None:
            raise QueryError(f"no peak: a range of {model} has no scored answer", where=self._design.name)
        return peak

    def _top(self, dimension: str, model: str, category: str | None = None) -> str | None:
        within = {} if category is None else {"category": category}
        groups = [{**group, **within} for group in range_groups(model, self._design.ranges)]
        means = self._table.means(dimension, groups)
        known = [index for index in range(len(groups)) if means.n[index]]
        return self._design.ranges[max(known, key=means.means.__getitem__)] if known else None

    def _gaps(self, dimension: str, model: str, above: str, among: Sequence[str] | None) -> tuple[str, Estimate]:
        ranges = list(among or self._design.ranges)
        draws = self._table.means(dimension, range_groups(model, [*ranges, above]))
        gaps = [draws.difference(index, len(ranges), shared_level()) for index in range(len(ranges))]
        least = min(range(len(ranges)), key=lambda index: gaps[index].value)
        return ranges[least], gaps[least]


def _pooled(dimension: str, left: Mapping[str, object], right: Mapping[str, object], factor: str) -> str:
    """A name for a pooled difference."""
    return canonical([dimension, dict(left), dict(right), factor])

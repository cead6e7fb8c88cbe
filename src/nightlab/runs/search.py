"""Keep or discard: which runs come next, and what was decided, folded from the rows alone.

The baseline is repeated; the spread of its repeats (1.4826 times the median absolute deviation, after Rousseeuw &
Croux 1993, JASA 88(424)) is the noise floor. Then each parameter in turn is set to each of its other levels, the rest
as the best so far has it; a candidate runs once for every replicate of the plan, and is kept where the median of its
metric is better than that of the best by more than `keep_above` noise floors, else discarded. After the last round
without a change the search ends. The same rows give the same decisions, so a search that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from nightlab.experiments.lock import read_lock
from nightlab.runs.freeze import frozen_inputs
from nightlab.runs.plan import Params, RunCell, RunPlan, Search

MAD_TO_SPREAD = 1.4826

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """One step: what was tried against the best so far, what it gained (positive is better), and what became of it."""

    params: Params
    value: float
    gain: float
    needed: float
    verdict: Literal["baseline", "kept", "discarded", "failed"]


@dataclass(frozen=True)
class State:
    """Where a search stands: decisions so far, the best, the noise floor, the runs that are next (none: it is done)."""

    decisions: tuple[Decision, ...]
    best: Params
    noise: float
    next: tuple[RunCell, ...]


def search_state(plan: RunPlan, rows: Mapping[str, Row], failed: frozenset[str] = frozenset()) -> State:
    """Where the search of a plan stands, by its rows (by key) and the keys of runs that were given up."""
    search = plan.config.search
    if search is None:
        raise ValueError("the plan has no search")
    lock = read_lock(plan.folder)
    inputs = frozen_inputs(lock) if lock else plan.inputs
    fold = _Fold(plan, search, rows, failed, inputs)
    return fold.run()


class _Fold:
    def __init__(
        self, plan: RunPlan, search: Search, rows: Mapping[str, Row], failed: frozenset[str], inputs: Mapping[str, str]
    ) -> None:
        self._plan, self._search, self._rows, self._failed, self._inputs = plan, search, rows, failed, inputs
        self._sign = -1.0 if plan.config.metrics[search.metric] == "minimise" else 1.0
        self._decisions: list[Decision] = []

    def run(self) -> State:
        best = dict(self._search.baseline)
        cells = self._cells(best, max(self._search.repeats, self._plan.config.replicates))
        values, waiting = self._values(cells)
        if waiting or len(values) < 2:
            return State((), best, 0.0, tuple(waiting))
        top = median(values)
        noise = MAD_TO_SPREAD * median(abs(value - top) for value in values)
        needed = self._search.keep_above * noise
        self._decisions.append(Decision(best, top, 0.0, needed, "baseline"))
        tried: set[tuple[object, ...]] = {tuple(best.values())}
        for _ in range(self._search.rounds):
            before = dict(best)
            for candidate in self._candidates(best, tried):
                tried.add(tuple(candidate.values()))
                values, waiting = self._values(self._cells(candidate, self._plan.config.replicates))
                if waiting:
                    return State(tuple(self._decisions), best, noise, tuple(waiting))
                if self._decide(candidate, values, top, needed):
                    best, top = candidate, median(values)
            if best == before:
                break
        return State(tuple(self._decisions), best, noise, ())

    def _decide(self, candidate: Params, values: Sequence[float], top: float, needed: float) -> bool:
        if not values:
            self._decisions.append(Decision(candidate, float("nan"), float("nan"), needed, "failed"))
            return False
        gain = self._sign * (median(values) - top)
        kept = gain > needed
        self._decisions.append(Decision(candidate, median(values), gain, needed, "kept" if kept else "discarded"))
        return kept

    def _candidates(self, start: Params, tried: set[tuple[object, ...]]) -> Iterator[Params]:
        """Every other level of one parameter after another; `start` changes while it is walked."""
        for name, levels in self._plan.config.parameters.items():
            for level in levels:
                candidate = {**start, name: level}
                if tuple(candidate.values()) not in tried:
                    yield candidate
                    kept = next((d for d in reversed(self._decisions) if d.verdict in ("kept", "baseline")), None)
                    start = dict(kept.params) if kept else start

    def _cells(self, params: Params, count: int) -> list[RunCell]:
        ordered = {name: params[name] for name in self._plan.config.parameters}
        return [self._plan.cell(ordered, number, self._inputs) for number in range(count)]

    def _values(self, cells: Sequence[RunCell]) -> tuple[list[float], list[RunCell]]:
        """The metric of the runs that are done, and the runs that are still to be made."""
        done = [float(self._rows[c.key]["metrics"][self._search.metric]) for c in cells if c.key in self._rows]
        return done, [c for c in cells if c.key not in self._rows and c.key not in self._failed]

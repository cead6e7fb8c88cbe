"""The table of an experiment: one row per planned cell, whatever became of it.

Planned = scored + unjudged + missing + excluded + unproven + invalid, each with its reason; samples in = samples placed
+ unplanned samples; judgments in = judgments used + judgments of samples that do not count. Rows that were marked stay
in their files and are counted apart; a cell whose only answers were marked is invalid until it is asked again. Anything
else is a ConservationError. A missing score is NaN, never 0. Pooling over a factor is declared by the caller; prompts
nest in categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightlab.errors import ConservationError
from nightlab.evidence.design import FACTORS, Design, QueryError, known_name, read_design
from nightlab.evidence.frame import Frame
from nightlab.evidence.join import CODES, EXCLUDED, INVALID, MISSING, SCORED, STATUSES, UNJUDGED, UNPROVEN, join
from nightlab.evidence.rows import Row, Rows, read_rows
from nightlab.evidence.stats import RESAMPLES, Draws, Floats, bootstrap
from nightlab.experiments.cells import Cell

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EXCLUDED",
    "INVALID",
    "MISSING",
    "POOLED",
    "SCORED",
    "STATUSES",
    "UNJUDGED",
    "UNPROVEN",
    "Fate",
    "Mask",
    "Table",
    "Where",
    "canary_passed",
]

Mask = NDArray[np.bool_]
Where = Mapping[str, object]

POOLED = ("prompt", "category", "replicate")
"""The pooling every mean declares: over prompts (resampled as clusters), their categories, and replicates."""


@dataclass(frozen=True)
class Fate:
    """What became of one planned cell: its status, the reason where it does not count, its sample, its mean scores."""

    status: str
    reason: str
    sample: Row | None
    judgments: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Table:
    """Planned cells with their fates and scores (`scores[row, dimension]`, NaN where there is none)."""

    design: Design
    cells: tuple[Cell, ...]
    codes: NDArray[np.int8]
    reason: NDArray[Any]
    dimensions: tuple[str, ...]
    scores: Floats
    unplanned: tuple[Row, ...]
    rows: Rows
    proven: bool
    resamples: int = RESAMPLES

    @classmethod
    def from_experiment(
        cls,
        folder: Path,
        design: Design | None = None,
        *,
        servers: Sequence[Mapping[str, Any]] | None = None,
        resamples: int = RESAMPLES,
        rows: Rows | None = None,
    ) -> Table:
        """Join plan, samples, failures and judgments by cell key. Raises ConservationError.

        `servers` are server manifests: an answer counts only if the canary of its server passed. None skips that check,
        and then no claim may be made from the table. `rows` takes the place of the folder's own.
        """
        plan = design or read_design(folder)
        rows = rows or read_rows(folder)
        passed = None if servers is None else {str(server["id"]) for server in servers if canary_passed(server)}
        found = join(plan, rows, passed)
        return cls(
            plan,
            plan.cells,
            found.codes,
            found.reason,
            found.dimensions,
            found.scores,
            found.unplanned,
            rows,
            passed is not None,
            resamples,
        )

    @cached_property
    def status(self) -> NDArray[Any]:
        """The status of each cell."""
        return np.array(STATUSES, dtype=object)[self.codes]

    @cached_property
    def fates(self) -> tuple[Fate, ...]:
        """What became of each cell, with its rows."""
        samples, judgments = self.rows.samples, self.rows.judgments
        return tuple(
            Fate(status, reason, samples.get(cell.key), tuple(judgments.get(cell.key, ())))
            for cell, status, reason in zip(self.cells, self.status, self.reason, strict=True)
        )

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Each factor as an array over the rows."""
        if self.cells is self.design.cells:
            return dict(self.design.columns)
        return {field: np.array([getattr(cell, field) for cell in self.cells], dtype=object) for field in FACTORS}

    @cached_property
    def prompt_codes(self) -> NDArray[np.int64]:
        """The prompt of each row as an integer, in the order of the plan."""
        codes = {name: code for code, name in enumerate(self.design.levels["prompt"])}
        return np.array([codes[cell.prompt] for cell in self.cells], dtype=np.int64)

    @cached_property
    def df(self) -> pd.DataFrame:
        """The table as a data frame: factors, status, reason, and a column per dimension."""
        import pandas as pd

        frame = pd.DataFrame({"key": [cell.key for cell in self.cells], **self.columns})
        frame["status"], frame["reason"] = self.status, self.reason
        for index, name in enumerate(self.dimensions):
            frame[name] = self.scores[:, index]
        return frame

    @property
    def frame(self) -> Frame:
        """The same rows under their declared keys: what is done with them loses none unsaid."""
        return Frame.of(self.df, "model", "condition", "prompt", "replicate")

    def dimension(self, name: str) -> Floats:
        """The scores of one dimension over the rows; an unknown name raises QueryError."""
        known_name("dimension", name, self.dimensions, self.design.name)
        return self.scores[:, self.dimensions.index(name)]

    def mask(self, where: Where) -> Mask:
        """Which rows have the given levels; an unknown factor or level raises QueryError naming the nearest."""
        mask = np.ones(len(self.cells), dtype=bool)
        for factor, level in where.items():
            known = self._masks.get((factor, level))
            if known is None:
                self.design.check(factor, level)
                whole = self.cells is self.design.cells
                found = self.design.coded[factor].equals(level) if whole else self.columns[factor] == level
                known = self._masks[factor, level] = np.asarray(found, dtype=bool)
            mask &= known
        return mask

    @cached_property
    def _masks(self) -> dict[tuple[str, object], Mask]:
        """Which rows have a level, for levels that were asked for: comparing objects is slow."""
        return {}

    def where(self, **levels: object) -> Table:
        """The rows with the given levels, as a table."""
        return self._take(self.mask(levels))

    def by(self, *factors: str, over: Sequence[str] = POOLED) -> dict[tuple[Any, ...], Table]:
        """Split by factors; every other factor that varies within a group must be declared in `over`."""
        for factor in factors:
            known_name("factor", factor, FACTORS, self.design.name)
        names = [tuple(getattr(cell, factor) for factor in factors) for cell in self.cells]
        groups = {
            name: self._take(np.fromiter((own == name for own in names), bool, len(names)))
            for name in dict.fromkeys(names)
        }
        for name, group in groups.items():
            group.require_pooling(dict(zip(factors, name, strict=True)), over)
        if sum(len(group.cells) for group in groups.values()) != len(self.cells):
            raise ConservationError("the groups do not add up to the table", where=self.design.name)
        return groups

    def require_pooling(self, where: Where, over: Sequence[str] = POOLED) -> None:
        """Refuse a selection that mixes levels of a factor which `over` does not declare."""
        mask = self.mask(where)
        for factor in ("model", "condition", "category", "prompt", "replicate"):
            found = list(dict.fromkeys(self.columns[factor][mask]))
            if factor not in over and len(found) > 1 and not (factor == "category" and "prompt" in where):
                shown = ", ".join(str(level) for level in found[:4])
                raise QueryError(
                    f"this pools over {factor} ({shown}) without saying so",
                    where=self.design.name,
                    hint=f"name one {factor}, or declare over=[..., {factor!r}]",
                )

    def means(self, dimension: str, groups: Sequence[Where], over: Sequence[str] = POOLED) -> Draws:
        """The means of several groups of cells with their joint bootstrap over prompts; n of planned for each."""
        for where in groups:
            self.require_pooling(where, over)
        masks = np.array([self.mask(where) for where in groups]).reshape(len(groups), len(self.cells))
        return bootstrap(
            self.dimension(dimension), self.prompt_codes, masks, resamples=self.resamples, seed=self.design.seed
        )

    def count(self, *statuses: str, **levels: object) -> int:
        """How many planned cells of the given levels have one of the statuses (all of them when none is named)."""
        return int(self._having(statuses or STATUSES, levels).sum())

    def _having(self, statuses: Sequence[str], levels: Where) -> Mask:
        mask = self.mask(levels)
        wanted = np.array([name in statuses for name in STATUSES])
        return mask if wanted.all() else mask & wanted[self.codes]

    def answered(self, **levels: object) -> int:
        """How many planned cells have an answer, counted or not."""
        return self.count(SCORED, UNJUDGED, EXCLUDED, UNPROVEN, **levels)

    def reasons(self, *statuses: str, **levels: object) -> dict[str, int]:
        """Why cells of the given statuses do not count, with how many, the most frequent first."""
        found = Counter(self.reason[self._having(statuses, levels)])
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def not_available(self, dimension: str) -> int:
        """How many judged answers have no score in a dimension because the judge gave none."""
        return int(((self.codes == CODES[SCORED]) & np.isnan(self.dimension(dimension))).sum())

    def _take(self, mask: Mask) -> Table:
        keep = np.flatnonzero(mask)
        cells = tuple(self.cells[index] for index in keep)
        return replace(self, cells=cells, codes=self.codes[keep], reason=self.reason[keep], scores=self.scores[keep])


def canary_passed(server: Mapping[str, Any]) -> bool:
    """Whether a server manifest records a passed canary."""
    canary = server.get("canary")
    return isinstance(canary, Mapping) and canary.get("passed") is True

"""Where the runs of a plan stand: which come next, and what became of those of one call."""

from __future__ import annotations

from dataclasses import dataclass

from nightlab.errors import SweepStopped
from nightlab.experiments.lock import read_lock
from nightlab.experiments.samples import Samples
from nightlab.runs.freeze import frozen_inputs
from nightlab.runs.plan import RunCell, RunPlan
from nightlab.runs.search import Decision, search_state


@dataclass(frozen=True)
class RunsResult:
    """What became of a plan's runs: planned (the full grid), made and failed in this call, missing (none: done)."""

    planned: int
    made: int
    failed: int
    missing: int
    seconds: float
    stopped: str = ""
    failure: str = ""
    decisions: tuple[Decision, ...] = ()

    def error(self) -> SweepStopped | None:
        """Why it was given up, as an error to raise or to show."""
        if not self.stopped:
            return None
        what = f"the runs stopped: {self.stopped}"
        hint = "read the log of the run (its path is in failures.jsonl), mend the command, then run it again"
        return SweepStopped(what, failure=self.failure, sample=self.stopped, hint=hint)


def missing_runs(plan: RunPlan, samples: Samples, failed: frozenset[str] = frozenset()) -> list[RunCell]:
    """The runs that come next: of a grid all that have no line yet, of a search those that it needs now."""
    if plan.config.search is not None:
        rows = {row["key"]: row for row in samples.rows()}
        return list(search_state(plan, rows, failed).next)
    lock = read_lock(plan.folder)
    done = samples.keys()
    grid = plan.grid(frozen_inputs(lock) if lock else None)
    return [cell for cell in grid if cell.key not in done and cell.key not in failed]

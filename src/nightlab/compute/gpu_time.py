"""GPU time of a night's jobs (servers, trainings, runs), in its ledger by the minute, for `--gpu-hours`.

A minute of the wall clock in which a job runs on GPUs is charged whole and once, whoever sees it: the ledger's key is
the job and the minute. What ran while the night's own process was dead is charged when the job is seen again, from
its beginning, or the night's, to its end. So each job counts up to a minute too much at both ends; a queued one holds
no GPU and costs nothing. Limit: of a job that a queue began again, or that left no end, unseen minutes are not known.
"""

from __future__ import annotations

import time

from nightlab.budget import Budget
from nightlab.compute.place import OVER, Job, JobState

MINUTE = 60.0


class GpuTime:
    """What a night's jobs use of GPUs from the time `since` on (seconds since the epoch), in its ledger."""

    def __init__(self, budget: Budget, since: float) -> None:
        self._budget = budget
        self._since = since
        self._charged: dict[str, int] = {}

    def charge(self, job: Job, gpus: int, state: JobState, who: str) -> None:
        """Count a job's minutes so far. Raises BudgetExceeded where the limit has no room for the one under way."""
        until = time.time() if state == "running" else job.ended() if state in OVER else None
        if gpus < 1 or until is None or (last := int(until // MINUTE)) == self._charged.get(job.id):
            return
        began, key, seconds = job.began(), job.spec.key, MINUTE * gpus
        if began is None:
            return
        first = max(int(max(began, self._since) // MINUTE), self._charged.get(job.id, 0) + 1)
        under_way = last if state == "running" else last + 1
        for minute in range(first, under_way):
            self._budget.note(f"gpu/{key}/{minute}", gpu_seconds=seconds, who=who)
        if state == "running":
            self._budget.reserve(f"gpu/{key}/{last}", gpu_seconds=seconds, who=who).commit(gpu_seconds=seconds)
        self._charged[job.id] = last
